//! The program that the boot loader brought: run in place of the cases.

#![allow(unsafe_code, reason = "the module's bytes, in the direct map")]

extern crate alloc;

use alloc::vec::Vec;
use core::slice;

use pkeys_image::elf::Elf;
use pkeys_image::options::{Options, decode};
use pkeys_kernel::platform::Program;
use pkeys_kernel::task::ExitStatus;

use crate::boot::Loaded;
use crate::exit::{Status, exit, refuse};
use crate::memory::frames::MAX_MEMORY;
use crate::memory::layout::{direct, to_usize};
use crate::user::{files, process};
use crate::{console, say, sched};

/// Starts the program in the first module, and ends the machine when it has ended. A file that cannot be run is refused.
pub(crate) fn start(path: &str, options: &Options<'_>, loaded: &Loaded) {
    if options.is_log_apart {
        console::speak_apart();
    }
    let Some(module) = loaded.modules().next() else {
        refuse(format_args!("exec={path}: the boot loader brought no file"));
    };
    if module.end > MAX_MEMORY || module.end < module.start {
        refuse(format_args!(
            "exec={path}: the file lies where there is no memory"
        ));
    }
    let len = to_usize(module.end - module.start);
    // SAFETY: in the direct map, and kept out of the memory that is given out (`Loaded::free_memory`), so never written.
    let bytes = unsafe { slice::from_raw_parts(direct::<u8>(module.start), len) };
    if let Err(bad) = Elf::parse(bytes) {
        refuse(format_args!("{path}: {bad}"));
    }
    let path = bytes_of(path);
    files::bring(files::Brought {
        path: path.clone(),
        bytes,
    });
    let mut argv = Vec::from([path.clone()]);
    argv.extend(options.args().map(bytes_of));
    let program = Program {
        path,
        argv,
        envp: options.envs().map(bytes_of).collect(),
    };
    if sched::spawn("exec", sched::ANYWHERE, move || run(program)).is_err() {
        refuse(format_args!("too little memory for the first thread"));
    }
}

/// A value of the command line. What cannot be decoded was refused before.
fn bytes_of(value: &str) -> Vec<u8> {
    decode(value).map(Option::unwrap_or_default).collect()
}

fn run(program: Program) {
    let pid = process::start(program)
        .unwrap_or_else(|errno| refuse(format_args!("the program cannot be started: {errno}")));
    let status = process::wait(pid);
    match status {
        ExitStatus::Exited(code) => say!("pkeys: the program exited with status {code}"),
        ExitStatus::Killed(signo) => say!("pkeys: the program was killed by signal {signo}"),
    }
    exit(if status == ExitStatus::Exited(0) {
        Status::Pass
    } else {
        Status::Fail
    })
}
