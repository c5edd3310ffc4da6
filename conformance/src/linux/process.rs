//! Peers that are child processes: a loop over a socket that takes the number of a function and an argument.
//!
//! A function is told as its distance from a symbol of the program. After `fork(2)` the addresses would be the same; after
//! `execve(2)` the same program lies elsewhere, and the distance holds.
//!
//! A child is killed when the thread that started it ends (`PR_SET_PDEATHSIG`), so that nothing outlives a test.
#![allow(
    unsafe_code,
    reason = "fork, wait and the start of functions by number"
)]

use core::cell::Cell;
use core::ops::Range;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use super::LinuxSystem;
use super::asm;
use super::begin::PEER_ARGUMENT;
use super::state::State;
use super::thread::run;
use crate::system::{Answer, Raw, Task};

/// This process's end of the socket to the one that asks it, if it is a peer.
static UPSTREAM: Mutex<Option<UnixStream>> = Mutex::new(None);

/// In place of a function: end.
const END: u64 = u64::MAX;

/// A child process.
#[derive(Debug)]
pub(super) struct ProcessPeer {
    pid: libc::pid_t,
    stream: UnixStream,
    /// How it ended, as soon as that is known.
    ended: Cell<Option<Answer>>,
}

/// Who goes on behind `fork(2)`.
enum Side {
    /// The child, with its end of the socket.
    Child(UnixStream),
    /// The parent, with its child.
    Parent(Rc<ProcessPeer>),
}

/// Starts a child that goes on with what this process is.
pub(super) fn fork(state: &Rc<State>) -> Rc<ProcessPeer> {
    match split(state) {
        Side::Parent(child) => child,
        Side::Child(stream) => serve(stream, &mut LinuxSystem::new(state.clone())),
    }
}

/// Starts a child that starts this program anew.
pub(super) fn fork_and_exec(state: &State) -> Rc<ProcessPeer> {
    let stream = match split(state) {
        Side::Parent(child) => return child,
        Side::Child(stream) => stream,
    };
    // SAFETY: a descriptor of this child's own; the new program shall have it.
    unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_SETFD, 0) };
    let err = Command::new("/proc/self/exe")
        .args([PEER_ARGUMENT, &stream.as_raw_fd().to_string()])
        .exec();
    eprintln!("cannot start the program anew: {err}");
    std::process::abort()
}

fn split(state: &State) -> Side {
    let (mine, its) = UnixStream::pair().expect("a pair of sockets");
    let parent = std::process::id();
    // SAFETY: the child runs this thread alone. It needs none of the locks that other threads of the program may hold:
    // those wait at their rendezvous, outside of allocator and library.
    match unsafe { libc::fork() } {
        0 => {
            die_with(parent);
            state.after_fork();
            Side::Child(its)
        }
        pid => {
            assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            Side::Parent(Rc::new(ProcessPeer {
                pid,
                stream: mine,
                ended: Cell::new(None),
            }))
        }
    }
}

/// Lets the kernel kill this process when the thread that started it is gone.
fn die_with(parent: u32) {
    // SAFETY: asks for a signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: asks for a number.
    if unsafe { libc::getppid() }.unsigned_abs() != parent {
        std::process::abort();
    }
}

/// A child's loop: runs what it is asked to, until it is told to end.
pub(super) fn serve(stream: UnixStream, system: &mut LinuxSystem) -> ! {
    // What a forked child inherited of its parent's is closed by that.
    *upstream() = Some(stream);
    loop {
        let Some((task, arg)) = next() else {
            exit(0);
        };
        // SAFETY: the number came from the same program, where it was a task's distance from the same symbol.
        let task = unsafe { core::mem::transmute::<usize, Task>(task) };
        let answer = run(task, system, arg);
        let is_sent = upstream()
            .as_ref()
            .is_some_and(|mut stream| stream.write_all(&answer.to_le_bytes()).is_ok());
        if !is_sent {
            exit(0);
        }
    }
}

/// The next task's address and argument; `None` to end.
fn next() -> Option<(usize, u64)> {
    let mut command = [0_u8; 16];
    upstream().as_mut()?.read_exact(&mut command).ok()?;
    let (distance, arg) = command.split_first_chunk()?;
    let distance = u64::from_le_bytes(*distance);
    if distance == END {
        return None;
    }
    let task = usize::try_from(distance.wrapping_add(anchor())).ok()?;
    Some((task, u64::from_le_bytes(*arg.first_chunk()?)))
}

fn upstream() -> std::sync::MutexGuard<'static, Option<UnixStream>> {
    UPSTREAM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The symbol that functions are told by their distance from.
fn anchor() -> u64 {
    asm::handler() as u64
}

/// Ends the process at once: no destructors, no buffers of its parent's written twice.
fn exit(status: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}

impl ProcessPeer {
    /// Lets it run a task, and waits for its answer or its end.
    pub(super) fn ask(&self, task: Task, arg: u64) -> Answer {
        if let Some(answer) = self.ended.get() {
            return answer;
        }
        let distance = ((task as *const ()).addr() as u64).wrapping_sub(anchor());
        self.try_ask(distance, arg)
            .map_or_else(|_| self.wait(), Answer::Done)
    }

    fn try_ask(&self, distance: u64, arg: u64) -> std::io::Result<u64> {
        let mut command = [0; 16];
        command[..8].copy_from_slice(&distance.to_le_bytes());
        command[8..].copy_from_slice(&arg.to_le_bytes());
        (&self.stream).write_all(&command)?;
        let mut answer = [0; 8];
        (&self.stream).read_exact(&mut answer)?;
        Ok(u64::from_le_bytes(answer))
    }

    /// Lets it end, and waits until it is gone.
    pub(super) fn end(&self) {
        // An error says that it is gone already.
        let _ = self.try_ask(END, 0);
        self.wait();
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&self) {
        if self.ended.get().is_none() {
            // SAFETY: a child that was not waited for: the number is its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.wait();
        }
    }

    /// Waits for its end.
    fn wait(&self) -> Answer {
        if let Some(answer) = self.ended.get() {
            return answer;
        }
        let mut status = 0;
        loop {
            // SAFETY: writes the status.
            let pid = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
            let is_interrupted = pid < 0
                && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
            if is_interrupted || pid == self.pid && libc::WIFSTOPPED(status) {
                continue;
            }
            assert_eq!(
                pid,
                self.pid,
                "waitpid: {}",
                std::io::Error::last_os_error()
            );
            let answer = if libc::WIFSIGNALED(status) {
                Answer::Killed(libc::WTERMSIG(status))
            } else {
                Answer::Exited(libc::WEXITSTATUS(status))
            };
            self.ended.set(Some(answer));
            return answer;
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u64 {
        u64::from(self.pid.unsigned_abs())
    }
}

/// `sigaltstack(2)` for this thread.
pub(super) fn set_altstack(stack: Option<Range<u64>>) -> Raw {
    let stack = match stack {
        Some(range) => libc::stack_t {
            ss_sp: core::ptr::without_provenance_mut(usize::try_from(range.start).unwrap_or(0)),
            ss_flags: 0,
            ss_size: usize::try_from(range.end.wrapping_sub(range.start)).unwrap_or(0),
        },
        None => libc::stack_t {
            ss_sp: core::ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        },
    };
    let args = [(&raw const stack).addr() as u64, 0, 0, 0, 0, 0];
    // SAFETY: reads the structure; nothing that Rust relies on changes (1).
    unsafe { asm::syscall(libc::SYS_sigaltstack.unsigned_abs(), args) }
}
