//! The loop of a CPU that runs programs.
//!
//! The threads of programs take turns: one runs until it waits, ends, or has had the CPU from one tick of the timer to
//! the next while others are ready. A CPU without a ready thread leaves the address space of the last one, and rests.

use pkeys_core::PageFaultErrorCode;
use pkeys_kernel::abi::nr;
use pkeys_kernel::hardware::HardwareFault;
use pkeys_kernel::task::{Processor, UserRegs};
use pkeys_kernel::{Kernel, Outcome, pks};

use super::cpu::ThisCpu;
use super::enter::{Loaded, enter};
use super::platform::Machine;
use super::{kernel, memory, process, ready};
use crate::cpu::registers::{halves, read_cr2, take_dr6};
use crate::cpu::{interrupts, per_cpu, pkrs};
use crate::sched;
use crate::trap::frame::Frame;
use crate::trap::{
    self, DEBUG, FIRST_INTERRUPT, GENERAL_PROTECTION, PAGE_FAULT, SYSCALL, interrupt,
};

/// What a CPU's thread for programs does.
pub(super) fn run() -> ! {
    let mut runner = Runner {
        kernel: kernel(),
        processor: Processor::new(ThisCpu),
        regs: UserRegs::default(),
        loaded: Loaded::default(),
    };
    loop {
        while let Some(start) = ready::take_start() {
            process::start_here(start, runner.kernel, &runner.processor);
        }
        if ready::take_due() {
            runner.kernel.wake_expired();
        }
        if runner.choose() {
            runner.let_run();
        } else {
            runner.kernel.idle(&runner.processor, &runner.regs);
            ready::rest();
        }
    }
}

/// A CPU, and the thread on it.
struct Runner {
    kernel: &'static Kernel<Machine>,
    processor: Processor<Machine>,
    /// The running thread's, as it left them.
    regs: UserRegs,
    loaded: Loaded,
}

impl Runner {
    fn running(&self) -> Option<i32> {
        Some(self.processor.current()?.tid())
    }

    /// Puts the next ready thread onto the CPU; the one that is there gets in line again. `false` where there is none at
    /// all.
    fn choose(&mut self) -> bool {
        let before = self.running();
        while let Some(tid) = ready::take() {
            if before == Some(tid) {
                // Named twice: it runs already.
                continue;
            }
            let switched = self.kernel.switch_to(&self.processor, &mut self.regs, tid);
            if switched.is_ok() {
                self.loaded.forget();
                // Not before: another CPU would have found it running here.
                if let Some(before) = before {
                    ready::add(before);
                }
                return true;
            }
        }
        before.is_some()
    }

    /// Lets the thread run until it is another one's turn, or it does not run any more.
    fn let_run(&mut self) {
        let mut outcome = self.kernel.deliver(&self.processor, &mut self.regs);
        while outcome == Outcome::Resume {
            interrupts::disable();
            let cpu = per_cpu::this();
            if cpu.kicked.replace(false) || cpu.reschedule.get() {
                interrupts::enable();
                sched::yield_now();
                outcome = self.kernel.deliver(&self.processor, &mut self.regs);
                continue;
            }
            // What the thread was pardoned in the kernel ends here.
            pks::end_of_context(&pkrs::ThisCpu);
            let mut frame = enter(&mut self.regs, &mut self.loaded);
            outcome = self.answer(&mut frame);
            if gives_way(&frame) && ready::is_any() {
                return;
            }
        }
    }

    /// Does what the program came for. Interrupts are kept out, and let in at the end.
    fn answer(&mut self, frame: &mut Frame) -> Outcome {
        let (kernel, processor, regs) = (self.kernel, &self.processor, &mut self.regs);
        match frame.vector {
            SYSCALL => {
                interrupts::enable();
                if memory::is_low() {
                    kernel.out_of_memory(processor, regs)
                } else {
                    kernel.syscall(processor, regs)
                }
            }
            PAGE_FAULT => {
                // Read before another fault can change it.
                let addr = read_cr2();
                interrupts::enable();
                let [code, _] = halves(frame.code);
                let code = PageFaultErrorCode::from_bits(code);
                kernel.page_fault(processor, regs, HardwareFault { addr, code })
            }
            GENERAL_PROTECTION => {
                interrupts::enable();
                kernel.general_protection(processor, regs, frame.code)
            }
            vector @ 0..FIRST_INTERRUPT => {
                let code = if vector == DEBUG {
                    take_dr6()
                } else {
                    frame.code
                };
                interrupts::enable();
                kernel.exception(processor, regs, vector.to_le_bytes()[0], code)
            }
            vector => {
                trap::exception_main(frame);
                if vector == u64::from(interrupt::TIMER) {
                    kernel.tick(processor);
                }
                interrupts::enable();
                kernel.deliver(processor, regs)
            }
        }
    }
}

/// Whether the thread came back by something at which others may have a turn.
fn gives_way(frame: &Frame) -> bool {
    match frame.vector {
        SYSCALL => frame.rax == nr::SCHED_YIELD,
        vector => vector == u64::from(interrupt::TIMER),
    }
}
