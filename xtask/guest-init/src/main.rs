//! Process 1 of xtask's Linux guest.
//!
//! It mounts what tests expect of a Linux, runs the programs of the initrd's list one after another, says on the console
//! how each ended, and leaves the machine through QEMU's `isa-debug-exit` device. There is no shell, no library and no
//! other program in the guest. Whatever goes wrong here ends with a status that xtask does not take for a pass: a panic
//! ends process 1, the kernel panics, `panic=-1` reboots, and under `-no-reboot` QEMU exits with 0.

#![deny(unsafe_code)]

mod exit;
mod mounts;
mod run;

use guest_init::events::Event;
use guest_init::{cpuinfo, jobs};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("guest-init runs as process 1 of xtask's guest: cargo xtask guest --help");
        return ExitCode::from(2);
    }
    let all_passed = serve().unwrap_or_else(|why| {
        say(&Event::Broken { why });
        false
    });
    exit::leave(all_passed)
}

/// Does the guest's work; gives whether every program ended with status 0, or why the work could not be done.
fn serve() -> Result<bool, String> {
    mounts::mount_all()?;
    let read = |path: &str| fs::read_to_string(path).map_err(|err| format!("{path}: {err}"));
    say(&Event::Ready {
        has_keys: cpuinfo::has_flag(&read("/proc/cpuinfo")?, "ospke"),
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
    });
    let list = fs::read(jobs::PATH).map_err(|err| format!("{}: {err}", jobs::PATH))?;
    let list = jobs::decode(&list).ok_or_else(|| format!("{}: not a list of jobs", jobs::PATH))?;
    let mut all_passed = true;
    for job in &list {
        say(&Event::Begin {
            name: job.name.clone(),
        });
        let outcome = run::run(job);
        say(&Event::End(outcome));
        all_passed &= outcome == guest_init::events::Outcome::Exit(0);
    }
    say(&Event::Done);
    Ok(all_passed)
}

/// Prints an event on a line of its own, whatever the last program left on the console.
fn say(event: &Event) {
    println!("\n{event}");
}
