#![no_std]
#![no_main]
#![deny(unsafe_code)]
//! A bootable x86-64 kernel with protection keys: user keys in ring 3, supervisor keys in ring 0.
//!
//! It exists to show that keys hold where a kernel needs them: on several CPUs, with interrupts at every moment, real page
//! tables and real key registers. So it is small, has no devices but a serial line and a timer, and ends with a status
//! that says whether every case passed.
//!
//! | what | where |
//! |---|---|
//! | from the boot loader to Rust | [`boot`] |
//! | instructions, tables, per-CPU data | [`cpu`] |
//! | exceptions and interrupts | [`trap`] |
//! | frames, page tables, heap, stacks | [`memory`] |
//! | other CPUs, the interrupt controller, time | [`smp`] |
//! | threads | [`sched`] |
//! | ring 3 | [`user`]; the program that the boot loader brought: [`program`] |
//! | the protocol of supervisor keys | [`pkeys_kernel::pks`] |
//! | what it shows | [`cases`] |
//!
//! What needs no hardware is in the library of this package, where the host's test runner reaches it.

extern crate alloc;

mod boot;
mod cases;
mod console;
mod cpu;
mod exit;
mod keys;
mod memory;
mod program;
mod sched;
mod slot;
mod smp;
mod sync;
mod trap;
mod user;

use pkeys_image::options::Options;

use boot::Loaded;
use cpu::features::Features;
use cpu::per_cpu::PerCpu;
use exit::refuse;
use memory::{frames, kernel_tables};

/// The data of the first CPU.
static FIRST: PerCpu = PerCpu::new(0);

/// The least memory that the kernel makes do with, in frames.
const MIN_FRAMES: usize = (16 << 20) / 4096;

/// Where `boot/entry.s` comes to: on the first CPU, with the boot tables and the physical address of the start information.
#[unsafe(no_mangle)]
#[allow(unsafe_code, reason = "the name is called by boot/entry.s alone")]
extern "sysv64" fn kernel_main(start_info: u64) -> ! {
    cpu::tables::fill_interrupt_table();
    FIRST.install();
    let features = Features::find().unwrap_or_else(|missing| refuse(format_args!("{missing}")));
    let loaded = Loaded::read(start_info).unwrap_or_else(|bad| refuse(format_args!("{bad}")));
    let line = loaded.command_line();
    let options = line
        .and_then(Options::parse)
        .unwrap_or_else(|bad| refuse(format_args!("{bad}")));
    user::access::start(features.has_smap());
    start_memory(&loaded);
    smp::apic::mask_old_controllers();
    keys::start(options.settings);
    smp::start_this(&FIRST, &features);
    smp::time::start();
    let cpus = smp::start_others(features, options.cpus);
    if cpus < options.cpus {
        refuse(format_args!("{cpus} of {} CPUs came up", options.cpus));
    }
    if let Err(errno) = user::start(options.init_pkru) {
        refuse(format_args!("no kernel for programs: {errno}"));
    }
    match options.exec {
        Some(path) => program::start(path, &options, &loaded),
        None => cases::start(&options),
    }
    sched::run_idle()
}

/// Takes the memory over and builds the kernel's own page tables.
fn start_memory(loaded: &Loaded) {
    frames::start(loaded.free_memory());
    let nr_free = frames::nr_free();
    if nr_free < MIN_FRAMES {
        refuse(format_args!("{} KiB of memory are too little", nr_free * 4));
    }
    let end = loaded.memory().map(|range| range.end).max().unwrap_or(0);
    let started = kernel_tables::start(end.min(frames::MAX_MEMORY)).and_then(|()| smp::apic::map());
    if started.is_err() {
        refuse(format_args!(
            "too little memory for the kernel's page tables"
        ));
    }
}
