//! This machine, as `pkeys-kernel` wants a kernel around it.

use pkeys_kernel::Platform;
use pkeys_kernel::abi::Errno;
use pkeys_kernel::memory::{Caller, Space};
use pkeys_kernel::platform::{Image, Program};
use pkeys_kernel::task::ExitStatus;

use super::cpu::ThisCpu;
use super::memory::DirectMap;
use super::tables::SpaceTables;
use super::{cpu, load, process, ready};
use crate::console;
use crate::cpu::{per_cpu, random, xstate};
use crate::smp::{self, apic::Command, time};
use crate::sync::RawSpin;
use crate::trap::interrupt::KICK;

/// The machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine;

impl Platform for Machine {
    type Memory = DirectMap;
    type Lock = RawSpin;
    type Tables = SpaceTables;
    type Cpu = ThisCpu;

    fn wake(&self, tid: i32) {
        ready::add(tid);
    }

    fn kick(&self, cpu: u32) {
        if cpu == per_cpu::id() {
            per_cpu::this().kicked.set(true);
        } else {
            smp::send(cpu, Command::Interrupt(KICK));
        }
    }

    fn ended(&self, pid: i32, status: ExitStatus) {
        process::note_end(pid, status);
    }

    fn no_system_call(&self, nr: u64) {
        process::name_call(nr);
    }

    fn load(
        &self,
        caller: &Caller<'_, ThisCpu>,
        space: &Space<DirectMap, RawSpin, SpaceTables>,
        program: &Program,
    ) -> Result<Image, Errno> {
        load::load(caller, space, program)
    }

    fn print(&self, bytes: &[u8]) {
        console::write(bytes);
    }

    fn monotonic(&self) -> Option<u64> {
        Some(time::now_ns())
    }

    fn realtime(&self) -> Option<u64> {
        Some(time::unix_ns())
    }

    fn set_timer(&self, deadline: u64) {
        ready::set_deadline(deadline);
    }

    fn random(&self, bytes: &mut [u8]) -> bool {
        random::fill(bytes);
        true
    }

    fn nr_cpus(&self) -> u32 {
        smp::count()
    }

    fn leave_space(&self, _: &ThisCpu) {
        cpu::leave_space();
    }

    fn save_xstate(&self, _: &ThisCpu, area: &mut [u8]) {
        xstate::save(area);
    }

    fn load_xstate(&self, _: &ThisCpu, area: &[u8]) {
        xstate::load(area);
    }
}
