//! Waiting in a system call.
//!
//! A call that cannot go on leaves a note, and its thread blocked: what it waits for, and how far it has come. The note
//! lies with the object that is waited for ([`WaitList`]), under that object's lock, so that nothing that happens to the
//! object is missed. When it happens, the thread can run again and makes the same call once more, from its registers,
//! which have not changed.
//!
//! A signal with a handler ends the waiting: with `EINTR`, or, with `SA_RESTART`, by moving the instruction pointer back
//! to the system call, so that the program makes it again after the handler. A call that has done a part of its work gives
//! the part instead. One that waits no longer than a program wants is not made again: [`WaitFor::is_made_again`].
//!
//! Source: Linux `arch/x86/kernel/signal.c` (`handle_signal`, `arch_do_signal_or_restart`).

use alloc::vec::Vec;

use crate::time::NEVER;

/// What a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// The end or the stop of a child.
    Child,
    /// A pipe, with data or with space.
    Pipe,
    /// A word in memory.
    Futex,
    /// The end of the other threads, in `execve(2)`.
    Threads,
    /// A time.
    Time,
    /// Something to read from a socket.
    Socket,
    /// Any of several files, in `poll(2)`.
    Files,
    /// A signal.
    Signal,
}

impl WaitFor {
    /// Whether a call that has come so far is made again after a handler with `SA_RESTART`: not one with a limit, and not
    /// one that waits for the very handler.
    pub(crate) const fn is_made_again(self, done: u64) -> bool {
        match self {
            Self::Child | Self::Pipe | Self::Threads => true,
            Self::Futex | Self::Socket => done == NEVER,
            Self::Time | Self::Files | Self::Signal => false,
        }
    }
}

/// A call that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// What for.
    pub(crate) what: WaitFor,
    /// What it has done so far: bytes of a long write; where the wait has a limit, when that ends, or [`NEVER`].
    pub(crate) done: u64,
}

/// The threads that wait for one thing.
#[derive(Debug, Default)]
pub(crate) struct WaitList(Vec<i32>);

impl WaitList {
    /// Adds a thread, once.
    pub(crate) fn add(&mut self, tid: i32) {
        if !self.0.contains(&tid) {
            self.0.push(tid);
        }
    }

    /// Everybody, who are then to be woken.
    pub(crate) fn take(&mut self) -> Vec<i32> {
        core::mem::take(&mut self.0)
    }
}
