//! Threads and processes, in lock step: a peer's task runs inside of the asker's call.
//!
//! The first thread has CPU 0; all others are on the other two in turn. A peer on its asker's CPU is switched to, and back;
//! one on another CPU runs there while the asker's own thread stays on its CPU, so that both have the address space active.

use core::panic::AssertUnwindSafe;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;

use pkeys_kernel::abi::nr;
use pkeys_kernel::task::ExitStatus;

use super::MachineSystem;
use super::thread::{Gone, Thread};
use crate::system::{Answer, Peer, Raw, Task};

/// `CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM`: a thread as the C library makes it.
const CLONE_THREAD: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;

/// The peers of a thread, by their numbers.
#[derive(Default)]
pub(super) struct Peers<'w, 'm>(Vec<Option<Started<'w, 'm>>>);

/// A peer.
struct Started<'w, 'm> {
    thread: Box<Thread<'w, 'm>>,
    kind: Kind,
    /// How its process ended, as soon as that is known.
    ended: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thread,
    Process,
}

impl<'w, 'm> Peers<'w, 'm> {
    fn add(&mut self, started: Started<'w, 'm>) -> Peer {
        let free = self.0.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[index] = Some(started);
        Peer(u32::try_from(index).expect("few peers"))
    }

    /// Takes a peer out, to be put back when it has done what it was asked.
    fn take(&mut self, peer: Peer) -> Started<'w, 'm> {
        let entry = self.0.get_mut(peer.0 as usize).and_then(Option::take);
        entry.expect("a peer of this thread that has not ended and does nothing")
    }

    fn put_back(&mut self, peer: Peer, started: Started<'w, 'm>) {
        self.0[peer.0 as usize] = Some(started);
    }
}

impl<'w, 'm> Thread<'w, 'm> {
    pub(super) fn peer_id(&self, peer: Peer) -> i32 {
        let entry = self.peers.0.get(peer.0 as usize).and_then(Option::as_ref);
        entry.expect("a peer of this thread").thread.tid
    }

    /// Starts a thread of this process.
    pub(super) fn start_thread(&mut self) -> Peer {
        let slot = self.slots.take();
        self.map(slot.stack());
        let args = [CLONE_THREAD, slot.stack().end - 0x100, 0, 0, 0, 0];
        let tid = id(self.syscall(nr::CLONE, args, &mut None));
        let at = self.world.next_cpu();
        let slots = Rc::clone(&self.slots);
        let mut thread = Thread::new(self.world, [self.pid, tid], at, slot, slots);
        self.while_on(&mut thread, |thread| {
            thread.map_slot();
            thread.set_altstack(Some(slot.altstack()));
        });
        self.started(thread, Kind::Thread)
    }

    /// Starts a child that goes on with what this process is.
    pub(super) fn fork(&mut self) -> Peer {
        let child = self.forked();
        self.started(child, Kind::Process)
    }

    /// Starts a child that starts this program anew.
    pub(super) fn fork_and_exec(&mut self) -> Peer {
        let mut child = self.forked();
        self.while_on(&mut child, |child| {
            let path = child.slot.scratch().start;
            child.poke(path, b"/proc/self/exe\0");
            let result = child.syscall(nr::EXECVE, [path, 0, 0, 0, 0, 0], &mut None);
            assert_eq!(result, 0, "execve");
            child.slots = Rc::default();
            child.slot = child.slots.take();
            child.begin();
        });
        self.started(child, Kind::Process)
    }

    fn forked(&mut self) -> Thread<'w, 'm> {
        let pid = id(self.syscall(nr::FORK, [0; 6], &mut None));
        let slots = Rc::new((*self.slots).clone());
        let at = self.world.next_cpu();
        Thread::new(self.world, [pid, pid], at, self.slot, slots)
    }

    fn started(&mut self, thread: Thread<'w, 'm>, kind: Kind) -> Peer {
        self.peers.add(Started {
            thread: Box::new(thread),
            kind,
            ended: None,
        })
    }

    /// Lets a peer run a task.
    pub(super) fn ask(&mut self, peer: Peer, task: Task, arg: u64) -> Answer {
        let mut started = self.peers.take(peer);
        if let Some(ended) = started.ended {
            self.peers.put_back(peer, started);
            return ended;
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.while_on(&mut started.thread, |thread| {
                task(&mut MachineSystem::new(thread), arg)
            })
        }));
        let answer = match done {
            Ok(value) => Answer::Done(value),
            Err(thrown) => match thrown.downcast_ref::<Gone>() {
                Some(&Gone::Process(pid, status)) if pid != self.pid => {
                    self.come_back();
                    self.reap(pid);
                    let answer = answer(status);
                    started.ended = Some(answer);
                    answer
                }
                // This very process has ended, or a test has failed.
                _ => resume_unwind(thrown),
            },
        };
        self.peers.put_back(peer, started);
        answer
    }

    /// Ends a peer.
    pub(super) fn end(&mut self, peer: Peer) {
        let mut started = self.peers.take(peer);
        if started.ended.is_some() {
            return;
        }
        let kind = started.kind;
        self.while_on(&mut started.thread, |thread| {
            thread.end_own_peers();
            match kind {
                Kind::Thread => {
                    thread.set_altstack(None);
                    thread.unmap_slot();
                    thread.last_syscall(nr::EXIT, 0);
                }
                Kind::Process => thread.last_syscall(nr::EXIT_GROUP, 0),
            }
        });
        match kind {
            Kind::Thread => self.slots.give_back(started.thread.slot),
            Kind::Process => self.reap(started.thread.pid),
        }
    }

    /// Ends all peers that are left.
    fn end_own_peers(&mut self) {
        for index in 0..self.peers.0.len() {
            if self.peers.0[index].is_some() {
                self.end(Peer(u32::try_from(index).expect("few peers")));
            }
        }
    }

    /// Runs something as another thread, and comes back to this one's CPU.
    fn while_on<R>(
        &mut self,
        other: &mut Thread<'w, 'm>,
        run: impl FnOnce(&mut Thread<'w, 'm>) -> R,
    ) -> R {
        other.come_back();
        let result = run(other);
        self.come_back();
        result
    }

    /// Makes this thread the one that runs on its CPU.
    pub(super) fn come_back(&mut self) {
        let outcome = self.world.switch(self.at, self.tid);
        self.settle(outcome, &mut None);
    }

    /// Waits for a child that has ended.
    fn reap(&mut self, pid: i32) {
        let pid = i64::from(pid).cast_unsigned();
        let waited = self.syscall(nr::WAIT4, [pid, 0, 0, 0, 0, 0], &mut None);
        assert_eq!(waited.cast_unsigned(), pid, "wait4");
    }
}

fn answer(status: ExitStatus) -> Answer {
    match status {
        ExitStatus::Exited(code) => Answer::Exited(code.into()),
        ExitStatus::Killed(signo) => Answer::Killed(signo),
    }
}

/// The number that a call gave for a thread or a process.
fn id(result: Raw) -> i32 {
    let id = i32::try_from(result).ok().filter(|id| *id > 0);
    id.unwrap_or_else(|| panic!("no thread: {result}"))
}
