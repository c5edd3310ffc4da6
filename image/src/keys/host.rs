//! What regions and `kmap` need of the kernel: its page tables, and the other CPUs.

use pkeys_core::{Knobs, Pkey};
use pkeys_kernel::pks::region::{Host, Pages};

use crate::cpu::pkrs::ThisCpu;
use crate::memory::kernel_tables::{self, OutOfMemory};
use crate::memory::layout::PAGE;
use crate::smp;

/// The kernel's page tables.
#[derive(Debug)]
pub(crate) struct Tables;

/// The address behind the last byte. The direct map does not reach to the end of the addresses.
const fn end(pages: Pages) -> u64 {
    pages.start() + pages.nr_pages() * PAGE
}

impl Host for Tables {
    type Cpu = ThisCpu;
    type Error = OutOfMemory;

    fn cpu(&self) -> &ThisCpu {
        &ThisCpu
    }

    fn knobs(&self) -> Knobs {
        super::PKS.knobs()
    }

    fn set_pkey(&self, pages: Pages, pkey: Pkey) -> Result<(), OutOfMemory> {
        kernel_tables::change_pkey(pages.start(), end(pages), pkey)
    }

    fn shoot_down(&self, pages: Pages) {
        smp::flush(pages.start(), end(pages));
    }

    fn refresh(&self) {
        super::refresh_all();
    }
}
