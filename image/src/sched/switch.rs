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
use core::sync::atomic::Ordering::Relaxed;

use super::queue::QUEUE;
use super::thread::{State, Work};
use super::{Thread, current, exit};
use crate::cpu::per_cpu::{self, PerCpu};
use crate::cpu::pkrs::ThisCpu;
use crate::cpu::registers::{FS_BASE, read_cr3, write_cr3, write_msr};
use crate::cpu::{interrupts, pkru};
use crate::memory::layout::to_usize;
use crate::memory::stack::Stack;
use crate::pks::{self, PksCpu};
use crate::smp;
use crate::trap::frame::Frame;

global_asm!(
    include_str!("switch.s"),
    thread_main = sym thread_main,
    FRAME_LEN = const size_of::<Frame>(),
);

unsafe extern "sysv64" {
    fn switch_stacks(save: *mut u64, load: u64);
    fn thread_start() -> !;
    fn enter_user(frame: *const Frame, top: u64) -> !;
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
    let is_idle = this.stack_top() == 0;
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
    this.pkru.set(pkru::read());
    pkru::load(next.pkru.get());
    cpu.set_kernel_stack(next.stack_top());
    let root = next.root();
    if root != read_cr3() {
        // SAFETY: (1) every address space has the kernel's half.
        unsafe { write_cr3(root) };
    }
    if let Some(user) = &next.user {
        cpu.user_state.set(user.state.as_ptr());
        // SAFETY: (1) every CPU with long mode has it, and programs give canonical addresses, which is checked. (2) The kernel
        // does not use FS.
        unsafe { write_msr(FS_BASE, user.fs_base.load(Relaxed)) };
    }
    // SAFETY: the scheduler's lock is held, so that `next` runs nowhere, and its stack pointer was saved here or made by
    // `first_frame`.
    unsafe { switch_stacks(this.saved.as_ptr(), next.saved.get()) };
}

/// Where a new thread begins: with the scheduler's lock, and interrupts kept out by it.
extern "sysv64" fn thread_main() -> ! {
    per_cpu::this().irq_were_enabled.set(true);
    // SAFETY: held by the thread that switched to this one, which left it to it.
    unsafe { QUEUE.force_unlock() };
    match current().and_then(|me| me.work.take()) {
        Some(Work::Kernel(work)) => work(),
        Some(Work::User(frame)) => go_to_user(&frame),
        None => {}
    }
    exit()
}

/// Leaves the kernel for the first time.
fn go_to_user(frame: &Frame) -> ! {
    interrupts::disable();
    let top = per_cpu::this().kernel_stack.get();
    // SAFETY: interrupts are kept out, and what is on this stack is not used any more.
    unsafe { enter_user(frame, top) }
}
