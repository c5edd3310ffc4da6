//! `Key::get` and `Key::set`, which look at the allocation map first, against the bare instructions, while other threads
//! allocate and free keys.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use pkeys::{Key, Rights};
use pkeys_arch::Pku;

use crate::figure::Figure;
use crate::sample::{Effort, Rounds, compare};

pub(crate) const NAMES: &[&str] = &["checked-get-set", "checked-threads"];

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let one = with_others(1, effort);
    let three = with_others(3, effort);
    let cycles = |rounds: &Rounds| (rounds.cycles(0), rounds.cycles(1));
    // How the cost of checking grows with more threads at the map: the ratio of the two ratios.
    let (few, many) = (one.ratio(0, 1), three.ratio(0, 1));
    let growth = crate::sample::Spread {
        low: many.low / few.median,
        median: many.median / few.median,
        high: many.high / few.median,
    };
    vec![
        Figure::at_most(
            "checked-get-set",
            "checked get and set against unchecked, one thread allocating and freeing",
            1.15,
            few,
            cycles(&one),
        ),
        Figure::at_most(
            "checked-threads",
            "that ratio with three such threads, against itself with one",
            1.05,
            growth,
            cycles(&three),
        ),
    ]
}

/// Compares the two while so many other threads allocate and free keys.
fn with_others(nr_others: usize, effort: Effort) -> Rounds {
    let key = Key::alloc(Rights::NoAccess).expect("a key");
    let (pku, _) = Pku::probe().expect("keys");
    let is_done = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        for _ in 0..nr_others {
            scope.spawn(|| {
                crate::sample::unpin();
                while !is_done.load(Relaxed) {
                    if let Ok(key) = Key::alloc(Rights::NoAccess) {
                        // SAFETY: no page carries it.
                        unsafe { key.free() }.expect("a key of this thread's own");
                    }
                }
            });
        }
        let mut checked = |iterations| {
            for _ in 0..iterations {
                black_box(key.get()).expect("an allocated key");
                key.set(black_box(Rights::ReadOnly))
                    .expect("an allocated key");
            }
        };
        let mut unchecked = |iterations| {
            for _ in 0..iterations {
                black_box(pku.read().rights(key.pkey()));
                let rights = black_box(Rights::ReadOnly).access_bits();
                // SAFETY: the key is this function's own.
                unsafe { pku.write(pku.read().with(key.pkey(), rights)) };
            }
        };
        let rounds = compare(
            effort.rounds(201),
            effort.iterations(2_000),
            &mut [&mut checked, &mut unchecked],
        );
        is_done.store(true, Relaxed);
        rounds
    });
    // SAFETY: no page carries it.
    unsafe { key.free() }.expect("an allocated key");
    rounds
}
