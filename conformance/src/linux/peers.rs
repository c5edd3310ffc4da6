//! The threads and processes that a thread started, by number.

use std::rc::Rc;

use super::process::ProcessPeer;
use super::thread::ThreadPeer;
use crate::system::{Answer, Peer, Task};

/// A peer that was started.
#[derive(Debug, Clone)]
pub(super) enum Started {
    /// A thread of this process.
    Thread(Rc<ThreadPeer>),
    /// A child process.
    Process(Rc<ProcessPeer>),
}

impl Started {
    /// Lets it run a task, and waits.
    pub(super) fn ask(&self, task: Task, arg: u64) -> Answer {
        match self {
            Self::Thread(thread) => Answer::Done(thread.ask(task, arg)),
            Self::Process(process) => process.ask(task, arg),
        }
    }

    /// Ends it in peace, and waits.
    pub(super) fn end(&self) {
        match self {
            Self::Thread(thread) => thread.end(),
            Self::Process(process) => process.end(),
        }
    }

    /// Its thread or process id.
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Thread(thread) => thread.tid(),
            Self::Process(process) => process.pid(),
        }
    }
}

/// A thread's peers. Numbers are given in order and never again.
#[derive(Debug, Default)]
pub(super) struct Peers(Vec<Option<Started>>);

impl Peers {
    /// Gives a peer its number.
    pub(super) fn add(&mut self, started: Started) -> Peer {
        let number = u32::try_from(self.0.len()).expect("fewer than 2^32 peers");
        self.0.push(Some(started));
        Peer(number)
    }

    /// The peer of a number.
    pub(super) fn get(&self, peer: Peer) -> Started {
        let entry = self.0.get(peer.0 as usize).and_then(Option::as_ref);
        entry
            .expect("a peer of this thread that has not ended")
            .clone()
    }

    /// The peer of a number, which has none from now on.
    pub(super) fn remove(&mut self, peer: Peer) -> Started {
        let started = self.get(peer);
        self.0[peer.0 as usize] = None;
        started
    }

    /// In a forked child: the parent's peers are not this process's. Nothing is done to them.
    pub(super) fn forget(&mut self) {
        for started in core::mem::take(&mut self.0).into_iter().flatten() {
            match started {
                // There is no such thread here that its handle could be about.
                Started::Thread(thread) => core::mem::forget(thread),
                // Closes its socket.
                Started::Process(process) => drop(process),
            }
        }
    }

    /// Ends all that are left: threads in peace, processes by SIGKILL.
    pub(super) fn clear(&mut self) {
        for started in core::mem::take(&mut self.0).into_iter().flatten() {
            match started {
                Started::Thread(thread) => thread.end(),
                Started::Process(process) => process.kill(),
            }
        }
    }
}
