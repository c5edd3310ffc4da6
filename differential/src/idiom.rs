//! A few steps that belong together: states that steps drawn one by one would seldom reach.
//!
//! Each is the shape of a mistake that kernels make. The arguments are drawn all the same, and the steps go through the
//! same interpreter; a step that fails is no harm.

use crate::draw::Draw;
use crate::field::choices;
use crate::op::{Fixing, Mapping, Move, Offset, Op, Place};

choices! {
    /// What the steps are about.
    Idiom {
        /// Another thread has a page in its TLB while this one changes it.
        ShootDown,
        /// Memory becomes execute-only and readable again.
        ExecuteOnly,
        /// The first access to a page whose key is closed.
        NotPresent,
        /// A key is freed while a page has it, and given out again.
        FreeInUse,
        /// A page with a key moves.
        Moved,
        /// A change of protection comes to a hole.
        Hole,
        /// `mprotect` on a page with a key.
        Kept,
    }
}

/// Puts the steps of one of them on a queue that is taken from its end.
pub(crate) fn push(draw: &mut Draw, has_thread: bool, queue: &mut Vec<Op>) {
    let start = queue.len();
    let idiom = if has_thread && draw.one_in(2) {
        Idiom::ShootDown
    } else {
        draw.pick(Idiom::ALL)
    };
    let page = draw.page();
    let key = draw.key();
    let first = draw.real_key();
    let read = |page| Op::Read {
        page,
        offset: Offset::Ninth,
    };
    let protect = |prot| Op::PkeyMprotect {
        page,
        nr: 1,
        prot,
        key,
    };
    let close = |key, rights| Op::SetRights { key, rights };
    let map = |page, nr| Op::Mmap {
        page,
        nr,
        prot: 3,
        what: Mapping::Private,
        fixing: Fixing::Fixed,
    };
    let write = |page, value| Op::Write {
        page,
        offset: Offset::Ninth,
        value,
    };
    let change = |prot| Op::Mprotect { page, nr: 1, prot };
    match idiom {
        Idiom::ShootDown => queue.extend([
            Op::Switch {
                place: Place::ThreadA,
            },
            read(page),
            Op::Switch { place: Place::Main },
            if draw.one_in(2) {
                change(draw.prot())
            } else {
                protect(draw.prot())
            },
            Op::Switch {
                place: Place::ThreadA,
            },
            read(page),
            Op::Switch { place: Place::Main },
        ]),
        Idiom::ExecuteOnly => queue.extend([
            Op::Call { page },
            change(4),
            Op::Call { page },
            read(page),
            change(draw.prot()),
            read(page),
        ]),
        Idiom::NotPresent => queue.extend([
            map(page, 1),
            protect(3),
            close(first, draw.rights()),
            read(page),
            write(page, draw.byte()),
        ]),
        Idiom::FreeInUse => queue.extend([
            protect(3),
            Op::PkeyFree { key },
            read(page),
            Op::PkeyAlloc {
                rights: draw.rights(),
            },
            write(page, draw.byte()),
        ]),
        Idiom::Moved => {
            let (to, how) = (draw.page(), draw.pick(Move::ALL));
            queue.extend([
                protect(3),
                write(page, draw.byte()),
                Op::Mremap {
                    page,
                    nr: 1,
                    to,
                    how,
                },
                close(first, draw.rights()),
                read(to),
                write(to, draw.byte()),
            ]);
        }
        Idiom::Hole => {
            let (hole, nr, prot) = (page + 1, 3, draw.prot());
            queue.extend([
                map(page, 3),
                Op::Munmap { page: hole, nr: 1 },
                Op::Mprotect { page, nr, prot },
                write(page, draw.byte()),
                write(page + 2, draw.byte()),
            ]);
        }
        Idiom::Kept => queue.extend([
            protect(3),
            close(first, draw.rights()),
            change(draw.prot()),
            read(page),
            write(page, draw.byte()),
        ]),
    }
    queue[start..].reverse();
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::push;
    use crate::draw::Draw;
    use crate::op::{Op, Place};

    #[test]
    fn a_thread_is_visited_only_where_there_is_one() {
        let mut draw = Draw::new(ChaCha8Rng::seed_from_u64(9));
        let mut visits = 0;
        for round in 0..2000 {
            let (mut queue, has_thread) = (Vec::new(), round % 2 == 0);
            push(&mut draw, has_thread, &mut queue);
            assert!(!queue.is_empty());
            let visit = Op::Switch {
                place: Place::ThreadA,
            };
            if queue.contains(&visit) {
                visits += 1;
                let back = Op::Switch { place: Place::Main };
                assert_eq!(queue.first(), Some(&back), "and back again at last");
            }
        }
        assert!(visits > 100);
    }
}
