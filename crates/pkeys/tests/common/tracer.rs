//! Runs a program under `ptrace(2)` and writes down what the kernel did to it.
//!
//! The tracer sees every signal before the program does and passes it on unchanged. It says how the process ended and what
//! `siginfo_t` came last, which is the one that killed it. Processes that the program makes are left alone.

#![allow(dead_code, reason = "each test program reads its part of the record")]

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// A signal as the kernel raised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) signal: i32,
    pub(crate) si_code: i32,
    /// `si_pkey`, for `SEGV_PKUERR`.
    pub(crate) pkey: Option<u32>,
    pub(crate) addr: usize,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
}

/// What was seen of a program.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) end: End,
    /// The faults, in order; single-step traps and others are left out.
    pub(crate) signals: Vec<Signal>,
    /// The instruction that the last of them came from.
    pub(crate) pc: Option<usize>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command) -> io::Result<Record> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec, async-signal-safe calls only; the child is traced by this thread.
    unsafe {
        command.pre_exec(|| {
            // What crashes on purpose leaves no core file.
            let limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
            match libc::ptrace(libc::PTRACE_TRACEME) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })
    };
    let mut child = command.spawn()?;
    let out = read(child.stdout.take());
    let err = read(child.stderr.take());
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let (end, signals, pc) = trace(pid)?;
    let text = |reader: JoinHandle<String>| {
        let text = reader.join();
        text.map_err(|_| io::Error::other("the reader panicked"))
    };
    Ok(Record {
        end,
        signals,
        pc,
        out: text(out)?,
        err: text(err)?,
    })
}

/// Reads a pipe to its end beside what else happens.
fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until an error is what there is.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn trace(pid: i32) -> io::Result<(End, Vec<Signal>, Option<usize>)> {
    let mut signals = Vec::new();
    let mut pc = None;
    let mut is_started = false;
    loop {
        let mut status = 0;
        // SAFETY: waits for this child's threads, which only this thread traces.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if tid < 0 {
            return Err(io::Error::last_os_error());
        }
        if !libc::WIFSTOPPED(status) {
            if tid != pid {
                continue;
            }
            let end = if libc::WIFSIGNALED(status) {
                End::Signal(libc::WTERMSIG(status))
            } else {
                End::Exit(libc::WEXITSTATUS(status))
            };
            return Ok((end, signals, pc));
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let pass_on = if tid == pid && !is_started {
            // The stop after exec.
            is_started = true;
            let options =
                libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
            // SAFETY: the thread is stopped and traced by this one.
            unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, tid, 0, options) };
            0
        } else if event != 0 || is_first_stop(signal) {
            0
        } else {
            if [libc::SIGSEGV, libc::SIGBUS].contains(&signal) {
                signals.extend(siginfo(tid));
                pc = program_counter(tid);
            }
            signal
        };
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_CONT, tid, 0, pass_on) };
    }
}

/// A thread's first stop (SIGSTOP by `PTRACE_O_TRACECLONE`), which is no signal of the program's: none here stops itself.
fn is_first_stop(signal: i32) -> bool {
    signal == libc::SIGSTOP
}

fn siginfo(tid: i32) -> Option<Signal> {
    let mut info = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the thread is stopped; the buffer has the size of a siginfo.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, tid, 0, info.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: filled by the kernel.
    let info = unsafe { info.assume_init() };
    // SAFETY: si_pkey lies at offset 0x20 of 128 bytes (`siginfo.h`); SEGV_PKUERR is 4.
    let pkey = unsafe { (&raw const info).cast::<u32>().add(8).read() };
    Some(Signal {
        signal: info.si_signo,
        si_code: info.si_code,
        pkey: (info.si_signo == libc::SIGSEGV && info.si_code == 4).then_some(pkey),
        // SAFETY: a field of any siginfo that a fault filled.
        addr: unsafe { info.si_addr() }.addr(),
    })
}

/// The instruction that a thread is at.
fn program_counter(tid: i32) -> Option<usize> {
    let mut registers = core::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
    // SAFETY: the thread is stopped; the buffer has the size of its registers.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, 0, registers.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: filled by the kernel.
    let registers = unsafe { registers.assume_init() };
    usize::try_from(registers.rip).ok()
}
