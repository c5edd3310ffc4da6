//! Threads: which runs where, and the switch between them.
//!
//! One queue for all CPUs, behind one lock ([`queue`]), and one function that changes from a thread to the next ([`switch`](mod@switch)).
//! A thread is preempted at the end of an interrupt, by the timer or because another CPU has woken one; it goes on wherever a
//! CPU is free.
//!
//! What is switched: the stack and the registers that a function keeps; the context of supervisor keys, which is the one of
//! the handler if the thread was interrupted. These are threads of the kernel. What belongs to programs (the address space,
//! PKRU, the XSAVE state, the bases of FS and GS) stays on the CPU as it is, since only one thread a CPU, which never
//! moves, runs programs there: see [`crate::user`].

#![allow(unsafe_code, reason = "counts references to the thread that runs")]

extern crate alloc;

pub(crate) mod mutex;
mod queue;
mod switch;
mod thread;
pub(crate) mod wait;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem;
use core::sync::atomic::Ordering::Relaxed;

use crate::cpu::interrupts;
use crate::cpu::per_cpu::{self, PerCpu};
use crate::memory::kernel_tables::OutOfMemory;
use crate::smp::{self, time};
use pkeys_kernel::pks::Context;
use queue::QUEUE;
use switch::switch;
use thread::State;

pub(crate) use thread::Thread;

/// Every CPU.
pub(crate) const ANYWHERE: u64 = u64::MAX;

/// How often the timer interrupts, in microseconds.
const TICK_US: u32 = 5000;

/// Makes what runs on this CPU its idle thread. Gives the context, in which the CPU begins.
pub(crate) fn adopt(cpu: &'static PerCpu) -> &'static Context {
    let idle = Thread::idle(cpu.id);
    let raw = Arc::into_raw(Arc::clone(&idle));
    QUEUE.lock().idle_threads.push(idle);
    cpu.thread.set(raw);
    // SAFETY: never dropped: the count that became `raw`, and the list, hold it for ever.
    unsafe { &(*raw).context }
}

/// What this CPU does from now on when there is no thread for it.
pub(crate) fn run_idle() -> ! {
    time::start_timer(TICK_US);
    interrupts::enable();
    loop {
        yield_now();
        bury();
        interrupts::disable();
        if per_cpu::this().reschedule.get() {
            interrupts::enable();
        } else {
            interrupts::wait();
        }
    }
}

/// The thread that runs; `None` before there are threads.
pub(crate) fn current() -> Option<Arc<Thread>> {
    interrupts::without(|| {
        let raw = per_cpu::this().thread.get();
        if raw.is_null() {
            return None;
        }
        // SAFETY: the CPU holds one count of the thread that runs; this makes another.
        unsafe { Arc::increment_strong_count(raw) };
        // SAFETY: the count just made.
        Some(unsafe { Arc::from_raw(raw) })
    })
}

/// Starts a thread.
///
/// # Errors
///
/// [`OutOfMemory`] where there is none for its stack.
pub(crate) fn spawn(
    name: &'static str,
    affinity: u64,
    work: impl FnOnce() + Send + 'static,
) -> Result<Arc<Thread>, OutOfMemory> {
    let thread = Thread::new(name, affinity, Box::new(work))?;
    bury();
    let free = QUEUE.lock().push(Arc::clone(&thread));
    notify(free);
    Ok(thread)
}

/// Tells a CPU without work that there is some.
fn notify(free: Option<u32>) {
    interrupts::without(|| match free {
        Some(cpu) if cpu == per_cpu::id() => per_cpu::this().reschedule.set(true),
        Some(cpu) => smp::reschedule(cpu),
        None => {}
    });
}

/// Ends the thread that runs.
pub(crate) fn exit() -> ! {
    if let Some(me) = current() {
        me.finish();
    }
    switch(State::Dead);
    unreachable!("a thread that has ended does not run again")
}

/// Lets others run.
pub(crate) fn yield_now() {
    switch(State::Ready);
}

/// Waits for [`unpark`].
pub(crate) fn park() {
    switch(State::Parked);
}

/// Has a parked thread go on; one that is not parked will pass its next [`park`].
pub(crate) fn unpark(thread: &Arc<Thread>) {
    let free = {
        let mut queue = QUEUE.lock();
        if thread.state.get() == State::Parked {
            thread.state.set(State::Ready);
            queue.push(Arc::clone(thread))
        } else {
            thread.token.set(true);
            None
        }
    };
    notify(free);
}

/// Has the thread that runs go on on these CPUs alone, a bit each; returns on one of them.
pub(crate) fn move_to(affinity: u64) {
    let Some(me) = current() else { return };
    me.affinity.store(affinity, Relaxed);
    while affinity & 1 << interrupts::without(per_cpu::id) == 0 {
        yield_now();
    }
}

/// Waits some time.
pub(crate) fn sleep_us(us: u64) {
    let end = time::now_us() + us;
    while time::now_us() < end {
        if let Some(me) = current() {
            QUEUE.lock().sleeping.push((end, me));
        }
        park();
    }
}

/// The timer's interrupt: wakes who waits for a time, and has the next thread run. One at a time is woken, so that no list
/// grows in a handler.
pub(crate) fn tick() {
    let now = time::now_us();
    loop {
        let due = {
            let mut queue = QUEUE.lock();
            let position = queue.sleeping.iter().position(|(end, _)| *end <= now);
            position.map(|position| queue.sleeping.swap_remove(position).1)
        };
        let Some(thread) = due else { break };
        unpark(&thread);
    }
    per_cpu::this().reschedule.set(true);
}

/// Frees the threads that have ended, their stacks with them.
pub(crate) fn bury() {
    let dead = mem::take(&mut QUEUE.lock().dead);
    drop(dead);
}
