//! The switch from one thread to the next.
//!
//! The lock of the queue is held across it: the thread that is switched to lets go of it. So nobody takes a thread from the
//! queue whose stack is still in use.
//!
//! The context of supervisor keys is switched before the stack is: what the register then has is for the next thread, while
//! the last instructions of this one touch nothing but stacks and the scheduler's own data, which have key 0.

#![allow(unsafe_code, reason = "switches stacks")]

extern crate alloc;

use alloc::sync::Arc;
use core::arch::global_asm;
use core::mem;
use core::ptr;

use super::queue::QUEUE;
use super::thread::State;
use super::{Thread, current, exit};
use crate::cpu::per_cpu::{self, PerCpu};
use crate::cpu::pkrs::ThisCpu;
use crate::memory::layout::to_usize;
use crate::memory::stack::Stack;
use crate::smp;
use pkeys_kernel::pks::{self, PksCpu};

global_asm!(
    include_str!("switch.s"),
    thread_main = sym thread_main,
);

unsafe extern "sysv64" {
    fn switch_stacks(save: *mut u64, load: u64);
    fn thread_start() -> !;
}

/// The stack of a thread that has not begun: its first switch returns to `thread_start`.
pub(super) fn first_frame(stack: &Stack) -> u64 {
    let start = thread_start as *const () as u64;
    // Six registers and the return address.
    let words: [u64; 7] = [0, 0, 0, 0, 0, 0, start];
    let at = stack.top() - size_of_val(&words) as u64;
    let at_ptr: *mut [u64; 7] = ptr::with_exposed_provenance_mut(to_usize(at));
    // SAFETY: the top of a stack that nobody uses.
    unsafe { at_ptr.write(words) };
    at
}

/// Leaves this CPU to another thread, if there is one that may run; returns when this thread runs again.
pub(super) fn switch(state: State) {
    let mut queue = QUEUE.lock();
    let cpu = per_cpu::this();
    assert!(
        cpu.irq_depth.get() == 1,
        "a thread that holds a spin lock does not sleep"
    );
    cpu.reschedule.set(false);
    let raw = cpu.thread.get();
    // SAFETY: the CPU's own count of the thread that runs, which ends here.
    let this = unsafe { Arc::from_raw(raw) };
    let is_idle = this.is_idle();
    let stays = state == State::Ready || state == State::Parked && this.token.replace(false);
    if stays && !is_idle {
        // Where it may no longer run here, somebody else has to hear of it.
        let free = queue.push(Arc::clone(&this));
        if let Some(free) = free.filter(|&free| free != cpu.id) {
            smp::reschedule(free);
        }
    }
    let Some(next) = queue.next(cpu.id) else {
        unreachable!("each CPU has an idle thread");
    };
    if ptr::eq(raw, Arc::as_ptr(&next)) {
        cpu.thread.set(Arc::into_raw(next));
        return;
    }
    if !stays {
        this.state.set(state);
    }
    if state == State::Dead {
        queue.dead.push(this);
    } else {
        drop(this);
    }
    // SAFETY: in the queue, in the list of the dead or of idle threads, or known to who will unpark it.
    let this = unsafe { &*raw };
    // The next thread lets go of the lock.
    mem::forget(queue);
    let were_enabled = cpu.irq_were_enabled.get();
    change(cpu, this, next);
    // Here again, perhaps on another CPU.
    per_cpu::this().irq_were_enabled.set(were_enabled);
    // SAFETY: held by the thread that switched to this one, which left it to it.
    unsafe { QUEUE.force_unlock() };
}

/// Switches everything from one thread to the next, the stack last.
fn change(cpu: &PerCpu, this: &Thread, next: Arc<Thread>) {
    this.current.set(ptr::from_ref(ThisCpu.current()));
    let next = Arc::into_raw(next);
    cpu.thread.set(next);
    // SAFETY: the CPU's count, just made, holds it.
    let next = unsafe { &*next };
    // SAFETY: the thread's own context, or that of a handler on its stack, which is there as long as it does not run.
    let context = unsafe { &*next.current.get() };
    pks::switch_to(&ThisCpu, context);
    // SAFETY: the scheduler's lock is held, so that `next` runs nowhere, and its stack pointer was saved here or made by
    // `first_frame`.
    unsafe { switch_stacks(this.saved.as_ptr(), next.saved.get()) };
}

/// Where a new thread begins: with the scheduler's lock, and interrupts kept out by it.
extern "sysv64" fn thread_main() -> ! {
    per_cpu::this().irq_were_enabled.set(true);
    // SAFETY: held by the thread that switched to this one, which left it to it.
    unsafe { QUEUE.force_unlock() };
    if let Some(work) = current().and_then(|me| me.work.take()) {
        work();
    }
    exit()
}
