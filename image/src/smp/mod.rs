//! Several CPUs: how the others are started, and what they are told.

#![allow(
    unsafe_code,
    reason = "copies the trampoline, and sets what the other CPUs start with"
)]

pub(crate) mod apic;
pub(crate) mod call;
pub(crate) mod time;

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec;
use core::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{Acquire, Release},
};

use crate::cpu::per_cpu::PerCpu;
use crate::cpu::pkrs::ThisCpu;
use crate::cpu::{features::Features, interrupts, xstate};
use crate::memory::kernel_tables;
use crate::memory::layout::{TRAMPOLINE, direct, physical};
use crate::memory::stack::Stack;
use crate::sync::Spin;
use crate::trap::interrupt::RESCHEDULE;
use crate::{sched, user};
use apic::Command;
use pkeys_image::options::MAX_CPUS;
use pkeys_kernel::pks;

/// How long the other CPUs may take to arrive, in microseconds.
const PATIENCE_US: u64 = 3_000_000;

/// The trampoline's page, as a start-up interrupt names it.
const TRAMPOLINE_PAGE: u8 = TRAMPOLINE.to_le_bytes()[1] >> 4;

/// The CPUs that run, a bit each.
static ONLINE: AtomicU64 = AtomicU64::new(1);

/// Their data, by number.
static CPUS: [AtomicPtr<PerCpu>; MAX_CPUS as usize] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS as usize];

/// What the first CPU has found out for all.
static FEATURES: Spin<Option<Features>> = Spin::new(None);

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_end: u8;
    static secondary_limit: u32;
    static secondary_stacks: u64;
    static secondary_root: u64;
}

/// The CPUs that run, a bit each.
pub(crate) fn online() -> u64 {
    ONLINE.load(Acquire)
}

/// How many CPUs run.
pub(crate) fn count() -> u32 {
    online().count_ones()
}

/// The data of a CPU.
pub(crate) fn cpu(id: u32) -> Option<&'static PerCpu> {
    let cpu = CPUS.get(id as usize)?.load(Acquire);
    // SAFETY: stored by `introduce`, from a reference for `'static`.
    unsafe { cpu.as_ref() }
}

/// Makes the data of a CPU known.
fn introduce(cpu: &'static PerCpu) {
    if let Some(slot) = CPUS.get(cpu.id as usize) {
        slot.store(core::ptr::from_ref(cpu).cast_mut(), Release);
    }
}

/// What each CPU does for itself once it has its data and the kernel's page tables: switches on what it has.
pub(crate) fn start_this(cpu: &'static PerCpu, features: &Features) {
    features.enable();
    xstate::start(cpu, features);
    user::start_cpu(cpu);
    pks::start_cpu(&ThisCpu, sched::adopt(cpu));
    apic::start();
    cpu.apic_id.set(apic::id());
    introduce(cpu);
    ONLINE.fetch_or(1 << cpu.id, Release);
}

/// Starts the other CPUs and waits until `wanted` are there; gives how many came.
pub(crate) fn start_others(features: Features, wanted: u32) -> u32 {
    if wanted <= 1 {
        return 1;
    }
    *FEATURES.lock() = Some(features);
    let mut stacks = vec![0_u64; wanted as usize];
    for (id, top) in (0..).zip(&mut stacks).skip(1) {
        introduce(Box::leak(Box::new(PerCpu::new(id))));
        let Ok(stack) = Stack::new() else { return 1 };
        *top = stack.top();
        // The CPU's own, for ever.
        core::mem::forget(stack);
    }
    prepare(Box::leak(stacks.into_boxed_slice()));
    let page = TRAMPOLINE_PAGE;
    apic::send_to_others(Command::Init);
    time::delay_us(200);
    for _ in 0..2 {
        apic::send_to_others(Command::StartUp(page));
        if arrived(wanted, 20_000) {
            return wanted;
        }
    }
    arrived(wanted, PATIENCE_US);
    count()
}

/// Waits for CPUs; `false` when the time is over.
fn arrived(wanted: u32, us: u64) -> bool {
    time::wait_until(us, || count() >= wanted)
}

/// Puts into place what the other CPUs start with: their first instructions, and stacks by number. These are addressed
/// by physical addresses, which the variables of the boot section have.
fn prepare(stacks: &'static [u64]) {
    let start = (&raw const trampoline).addr();
    let len = (&raw const trampoline_end).addr() - start;
    let code = direct::<u8>(start as u64);
    // SAFETY: the bytes of the trampoline, in the direct map; the target is below what is given out as memory.
    unsafe { direct::<u8>(TRAMPOLINE).copy_from_nonoverlapping(code, len) };
    let table = physical(stacks.as_ptr().addr() as u64);
    for (variable, value) in [
        (&raw const secondary_stacks, table),
        (&raw const secondary_root, kernel_tables::root()),
    ] {
        let variable = direct::<u64>(variable.addr() as u64);
        // SAFETY: a variable that the other CPUs read; they have not begun.
        unsafe { variable.write_volatile(value) };
    }
    let limit = direct::<u32>((&raw const secondary_limit).addr() as u64);
    // SAFETY: as above.
    unsafe { limit.write_volatile(u32::try_from(stacks.len()).unwrap_or(1)) };
}

/// Where the other CPUs come to, each on its own stack.
// The name is called by `boot/entry.s` alone.
#[unsafe(no_mangle)]
extern "sysv64" fn secondary_main(id: u32) -> ! {
    let Some(cpu) = cpu(id) else {
        interrupts::stop()
    };
    cpu.install();
    let features = *FEATURES.lock();
    let Some(features) = features else {
        interrupts::stop()
    };
    start_this(cpu, &features);
    sched::run_idle()
}

/// Makes the TLBs of all CPUs forget a range of kernel addresses.
pub(crate) fn flush(start: u64, end: u64) {
    call::on_all(
        |[start, end, _]| kernel_tables::flush_here(start, end),
        [start, end, 0],
    );
}

/// Asks a CPU to look for another thread to run.
pub(crate) fn reschedule(id: u32) {
    send(id, Command::Interrupt(RESCHEDULE));
}

/// Sends an interrupt to one CPU, or an NMI.
pub(crate) fn send(id: u32, command: Command) {
    if let Some(cpu) = cpu(id) {
        interrupts::without(|| apic::send(cpu.apic_id.get(), command));
    }
}
