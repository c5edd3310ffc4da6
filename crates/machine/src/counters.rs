//! What a CPU did, counted.
//!
//! Some promises cannot be seen in any result: that PKRU is loaded at a switch only when it differs, that a change of
//! protection sends no interrupt to CPUs that cannot know of it. Tests take the counters before and after, and subtract.

use core::ops::Sub;

/// What a CPU did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Counters {
    /// WRPKRU.
    pub pkru_writes: u64,
    /// WRMSR.
    pub msr_writes: u64,
    /// MOV to CR3, the flushes of everything by a kernel included.
    pub root_loads: u64,
    /// INVLPG, once for each page of 4 KiB that was named.
    pub invlpgs: u64,
    /// Interrupts to other CPUs so that they flush, once for each CPU.
    pub shoot_downs_sent: u64,
    /// Such interrupts from other CPUs.
    pub shoot_downs_received: u64,
    /// Walks through the page tables: accesses that the TLB could not answer.
    pub walks: u64,
}

/// What was done in between.
impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            pkru_writes: self.pkru_writes - earlier.pkru_writes,
            msr_writes: self.msr_writes - earlier.msr_writes,
            root_loads: self.root_loads - earlier.root_loads,
            invlpgs: self.invlpgs - earlier.invlpgs,
            shoot_downs_sent: self.shoot_downs_sent - earlier.shoot_downs_sent,
            shoot_downs_received: self.shoot_downs_received - earlier.shoot_downs_received,
            walks: self.walks - earlier.walks,
        }
    }
}
