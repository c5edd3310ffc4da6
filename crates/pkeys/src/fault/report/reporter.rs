//! The thread that turns records into reports.
//!
//! A handler may not unwind, read files or allocate; this thread may. It sleeps until a handler rings, takes the oldest record,
//! finds out what there is, writes it and lets the handler go on. It reads nothing under the loader's lock and writes
//! past the standard library's lock on standard error, as the thread that faulted may hold either. It does allocate: a
//! thread that faulted with the allocator's locks held leaves it waiting, and is let go by its own bound.
//!
//! It has all signals blocked and all of the library's keys closed, whatever its creator had open.
#![allow(unsafe_code, reason = "WRPKRU and the signal mask")]

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::panic::AssertUnwindSafe;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, SeqCst};
use std::io::{self, IsTerminal};
use std::os::fd::BorrowedFd;
use std::panic::catch_unwind;
use std::sync::mpsc;
use std::thread;

use pkeys_core::{KeyRegister, KeySet, Rights};

use crate::fault::report::channel::Channel;
use crate::fault::report::clock::{self, SECOND_NS};
use crate::fault::report::finding::{Finding, Knowledge};
use crate::fault::report::render::{self, Palette};
use crate::fault::report::slot::Taken;
use crate::fault::report::{futex, json};
use crate::registry::registry;
use crate::support;

/// The thread's name, as debuggers and `ps -T` show it.
const NAME: &str = "pkeys-report";

/// How long a report waits for room where it is written to.
const WRITE_WAIT_NS: u64 = 2 * SECOND_NS;

/// What a reporter is told at its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Whether colours may be used where reports go to a terminal.
    pub(super) allows_colour: bool,
}

/// Starts the thread, which then serves this channel for ever, and waits until it is ready: the first fault finds it
/// there, and what it takes of the process (a stack for signals, memory of its own) it has taken.
pub(super) fn spawn(channel: &'static Channel, settings: Settings) -> io::Result<()> {
    // A new thread takes over its creator's mask: it never runs a handler, not even before its first instruction.
    let mask = block_all();
    let (ready, is_ready) = mpsc::channel();
    let spawned = thread::Builder::new().name(NAME.to_owned()).spawn(move || {
        close_keys();
        // The first allocation of a thread is what gives it an arena.
        drop(black_box(Box::new(0_u8)));
        // The other end waits for this, and for nothing else.
        let _ = ready.send(());
        drop(ready);
        serve(channel, settings);
    });
    set_mask(&mask);
    spawned?;
    // A thread that dies before it is ready lets go of its end, and is missed at the first fault, which waits bounded.
    let _ = is_ready.recv();
    channel.set_reporter(true);
    Ok(())
}

fn serve(channel: &Channel, settings: Settings) {
    let mut knowledge = Knowledge::default();
    loop {
        let bell = channel.bell.load(SeqCst);
        while let Some(taken) = channel.take() {
            let report = || report(channel, &taken, settings, &mut knowledge);
            // A file that a reader of debug information chokes on costs this report, not all that follow.
            if catch_unwind(AssertUnwindSafe(report)).is_err() {
                knowledge = Knowledge::default();
            }
        }
        futex::wait(&channel.bell, bell, None);
    }
}

fn report(channel: &Channel, taken: &Taken<'_>, settings: Settings, knowledge: &mut Knowledge) {
    let Some(finding) = Finding::of(taken.record(), knowledge, || taken.is_abandoned()) else {
        return;
    };
    let until_ns = clock::monotonic_ns().saturating_add(WRITE_WAIT_NS);
    if channel.outlets.has_file() {
        channel
            .outlets
            .write_file(json::line(&finding).as_bytes(), until_ns);
    }
    if let Some(terminal) = channel.outlets.terminal() {
        // SAFETY: borrowed for a question that an invalid descriptor answers with no.
        let is_terminal = unsafe { BorrowedFd::borrow_raw(terminal) }.is_terminal();
        let palette = if is_terminal && settings.allows_colour {
            Palette::COLOURS
        } else {
            Palette::default()
        };
        let folder = std::env::current_dir().ok();
        let folder = folder.as_deref().and_then(|folder| folder.to_str());
        let text = render::text(&finding, &palette, folder);
        channel.outlets.write_terminal(text.as_bytes(), until_ns);
    }
}

/// Closes every key of this library in the calling thread, which inherited its creator's register.
fn close_keys() {
    let Ok(keys) = support::keys() else { return };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "one bit for each of 16 keys"
    )]
    let ours = KeySet::from_bits(registry().keys.load(Acquire) as u16);
    let register = closed(keys.pku.read(), ours);
    // SAFETY: key 0 is never one of the library's (1), and no others change (2).
    unsafe { keys.pku.write(register) };
}

/// A register with these keys closed, as the library closes them.
fn closed(register: KeyRegister, keys: KeySet) -> KeyRegister {
    keys.iter().fold(register, |register, pkey| {
        register.with(pkey, Rights::NoAccess.access_bits())
    })
}

fn block_all() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are this function's own; the new one was filled.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) };
    // SAFETY: the call has filled it; it fails for no valid first argument.
    unsafe { before.assume_init() }
}

fn set_mask(mask: &libc::sigset_t) {
    // SAFETY: the set is whole; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkeys_core::Pkey;

    #[test]
    fn the_librarys_keys_are_closed_and_no_others_change() {
        let ours: KeySet = [3, 7, 15].into_iter().filter_map(Pkey::new).collect();
        for before in [KeyRegister::ALL_OPEN, KeyRegister::LINUX_INIT] {
            let after = closed(before, ours);
            for pkey in Pkey::all() {
                let expected = if ours.contains(pkey) {
                    Rights::NoAccess.access_bits()
                } else {
                    before.get(pkey)
                };
                assert_eq!(after.get(pkey), expected, "key {pkey}");
            }
        }
    }

    #[test]
    fn a_mask_is_put_back() {
        let before = block_all();
        let blocked = block_all();
        // SAFETY: the set was filled by the kernel.
        let is_blocked = unsafe { libc::sigismember(&raw const blocked, libc::SIGUSR2) };
        assert_eq!(is_blocked, 1);
        set_mask(&before);
        let after = block_all();
        set_mask(&before);
        for signal in 1..=64 {
            // SAFETY: both sets were filled by the kernel.
            let is_member = |set: &libc::sigset_t| unsafe { libc::sigismember(set, signal) };
            assert_eq!(is_member(&before), is_member(&after), "signal {signal}");
        }
    }
}
