//! System calls with a bad argument: one at a time, so that the answer tells which check came first, and a few with two.
//!
//! Not all of them fail: Linux ignores unknown protections in `mmap(2)`, a length of zero makes a bad key harmless, and
//! the upper half of a key's register is not looked at.

use pkeys_kernel::abi::nr;

use crate::arena::PAGE;
use crate::field::choices;

choices! {
    /// What is wrong, and with which call.
    Defect {
        /// `mmap` at an address that is no page's start.
        MmapUnaligned,
        /// `mmap` of nothing.
        MmapNoLength,
        /// `mmap` of a length that wraps when rounded up.
        MmapWrap,
        /// `mmap` of more than there is.
        MmapTooLong,
        /// `mmap` across the end of user space.
        MmapBeyond,
        /// `mmap` in the kernel's half.
        MmapKernelHalf,
        /// `mmap` neither shared nor private.
        MmapNoType,
        /// `mmap` with a protection that means nothing.
        MmapUnknownProt,
        /// `mmap` of a descriptor that is not open.
        MmapBadDescriptor,
        /// `mmap` with an offset that is no page's start.
        MmapUnalignedOffset,
        /// `munmap` at an address that is no page's start.
        MunmapUnaligned,
        /// `munmap` of nothing.
        MunmapNoLength,
        /// `munmap` to the end of the address space.
        MunmapWrap,
        /// `munmap` across the end of user space.
        MunmapBeyond,
        /// `munmap` where nothing is.
        MunmapUnmapped,
        /// `mprotect` at an address that is no page's start.
        MprotectUnaligned,
        /// `mprotect` of nothing.
        MprotectNoLength,
        /// `mprotect` of a length that wraps.
        MprotectWrap,
        /// `mprotect` of a length that wraps when rounded up.
        MprotectRoundedToNothing,
        /// `mprotect` with a protection that means nothing.
        MprotectUnknownProt,
        /// `mprotect` that grows both ways.
        MprotectGrowsBoth,
        /// `mprotect` that grows down what does not.
        MprotectGrowsDown,
        /// `mprotect` that grows up what does not.
        MprotectGrowsUp,
        /// `mprotect` where nothing is.
        MprotectUnmapped,
        /// `mprotect` in the kernel's half.
        MprotectKernelHalf,
        /// `pkey_mprotect` of nothing with a key that is none.
        PkeyMprotectNothing,
        /// `pkey_mprotect` of nothing with a key that is not allocated.
        PkeyMprotectNothingFree,
        /// `pkey_mprotect` at an odd address with a key that is none.
        PkeyMprotectUnaligned,
        /// `pkey_mprotect` with a bad protection and a key that is none.
        PkeyMprotectUnknownProt,
        /// `pkey_mprotect` where nothing is with a key that is none.
        PkeyMprotectUnmapped,
        /// `pkey_mprotect` of a length that wraps with a key that is none.
        PkeyMprotectWrap,
        /// `pkey_mprotect` with -2.
        PkeyMprotectMinusTwo,
        /// `pkey_mprotect` with 16.
        PkeyMprotectSixteen,
        /// `pkey_mprotect` with 115, as the kernel's own tests have it.
        PkeyMprotect115,
        /// `pkey_mprotect` with the lowest number.
        PkeyMprotectLowest,
        /// `pkey_mprotect` with the highest number.
        PkeyMprotectHighest,
        /// `pkey_mprotect` with key 0 in the lower half of the register, and something in the upper.
        PkeyMprotectUpperHalf,
        /// `pkey_alloc` with a flag.
        PkeyAllocFlag,
        /// `pkey_alloc` with a flag in the upper half.
        PkeyAllocUpperFlag,
        /// `pkey_alloc` with a right that is none.
        PkeyAllocRights,
        /// `pkey_alloc` with a right in the upper half.
        PkeyAllocUpperRights,
        /// `pkey_alloc` with a flag and a right that is none.
        PkeyAllocBoth,
        /// `pkey_free` of -1.
        PkeyFreeMinusOne,
        /// `pkey_free` of -2.
        PkeyFreeMinusTwo,
        /// `pkey_free` of 16.
        PkeyFreeSixteen,
        /// `pkey_free` of 115.
        PkeyFree115,
        /// `pkey_free` of the lowest number.
        PkeyFreeLowest,
        /// `pkey_free` of the highest number.
        PkeyFreeHighest,
        /// `pkey_free` of 15 in the lower half of the register, and something in the upper.
        PkeyFreeUpperHalf,
        /// `mremap` of an address that is no page's start.
        MremapUnaligned,
        /// `mremap` to nothing.
        MremapNoLength,
        /// `mremap` with a flag that is none.
        MremapUnknownFlag,
        /// `mremap` to a place without leave to move.
        MremapStays,
        /// `mremap` to where it is.
        MremapOverlap,
        /// `mremap` to an address that is no page's start.
        MremapUnalignedTarget,
        /// `mremap` to the kernel's half.
        MremapKernelHalf,
        /// `mremap` that leaves the old mapping and changes the length.
        MremapLeavingResized,
        /// `mremap` where nothing is.
        MremapUnmapped,
        /// `madvise` at an address that is no page's start.
        MadviseUnaligned,
        /// `madvise` with an advice that is none.
        MadviseUnknown,
        /// `madvise` of a length that wraps.
        MadviseWrap,
        /// `madvise` of nothing.
        MadviseNoLength,
        /// `madvise` where nothing is.
        MadviseUnmapped,
        /// `mseal` with a flag.
        MsealFlag,
        /// `mseal` at an address that is no page's start.
        MsealUnaligned,
        /// `mseal` of nothing.
        MsealNoLength,
        /// `read` of a descriptor that is not open.
        ReadBadDescriptor,
        /// `write` to a descriptor that is not open.
        WriteBadDescriptor,
        /// A system call that there is not.
        NoSuchCall,
    }
}

const R: u64 = 1;
const RW: u64 = 3;
const MAP_PRIVATE: u64 = 2;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP: u64 = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
const MOVE: u64 = 3;
const NO_DESCRIPTOR: u64 = u64::MAX;
/// The last page but one of user space begins here where page tables have five levels; beyond it where they have four.
const LAST: u64 = 0xFF_FFFF_FFFF_E000;
const KERNEL_HALF: u64 = 0xFFFF_8000_0000_0000;
/// From a page to where nothing is ever mapped.
const FAR: u64 = 128 * PAGE;
const DONT_NEED: u64 = 4;
const NOT_A_CALL: u64 = 0x2000;

const fn key(number: i32) -> u64 {
    // As a C caller passes an `int`: what is above it may be anything; here it is its sign.
    (number as i64).cast_unsigned()
}

impl Defect {
    /// The system call and its arguments, about the page at this address.
    #[must_use]
    pub fn call(self, page: u64) -> (u64, [u64; 6]) {
        let (number, args) = self.four(page);
        let rest = if number == nr::MMAP {
            let offset = u64::from(self == Self::MmapUnalignedOffset);
            [NO_DESCRIPTOR, offset]
        } else {
            [0; 2]
        };
        let [a, b, c, d] = args;
        let e = if number == nr::MREMAP {
            self.target(page)
        } else {
            rest[0]
        };
        (number, [a, b, c, d, e, rest[1]])
    }

    /// The fifth argument of `mremap`.
    const fn target(self, page: u64) -> u64 {
        match self {
            Self::MremapOverlap => page,
            Self::MremapUnalignedTarget => page + PAGE + 1,
            Self::MremapKernelHalf => KERNEL_HALF,
            _ => page + PAGE,
        }
    }

    /// The system call and its first four arguments.
    fn four(self, page: u64) -> (u64, [u64; 4]) {
        self.mapping(page)
            .or_else(|| self.protecting(page))
            .or_else(|| self.keys(page))
            .unwrap_or_else(|| self.rest(page))
    }

    fn mapping(self, page: u64) -> Option<(u64, [u64; 4])> {
        let map = |addr, len, prot, flags| Some((nr::MMAP, [addr, len, prot, flags]));
        let unmap = |addr, len| Some((nr::MUNMAP, [addr, len, 0, 0]));
        match self {
            Self::MmapUnaligned => map(page + 1, PAGE, RW, MAP),
            Self::MmapNoLength => map(page, 0, RW, MAP),
            Self::MmapWrap => map(page, u64::MAX - 1, RW, MAP),
            Self::MmapTooLong => map(page, 1 << 60, RW, MAP),
            Self::MmapBeyond => map(LAST, 4 * PAGE, RW, MAP),
            Self::MmapKernelHalf => map(KERNEL_HALF, PAGE, RW, MAP),
            Self::MmapNoType => map(page, PAGE, RW, MAP_FIXED | MAP_ANONYMOUS),
            Self::MmapUnknownProt => map(page, PAGE, RW | 0x40, MAP),
            Self::MmapBadDescriptor => map(page, PAGE, R, MAP_PRIVATE | MAP_FIXED),
            Self::MmapUnalignedOffset => map(page, PAGE, RW, MAP),
            Self::MunmapUnaligned => unmap(page + 8, PAGE),
            Self::MunmapNoLength => unmap(page, 0),
            Self::MunmapWrap => unmap(page, u64::MAX - PAGE),
            Self::MunmapBeyond => unmap(LAST, 4 * PAGE),
            Self::MunmapUnmapped => unmap(page + FAR, PAGE),
            _ => None,
        }
    }

    fn protecting(self, page: u64) -> Option<(u64, [u64; 4])> {
        let protect = |addr, len, prot| Some((nr::MPROTECT, [addr, len, prot, 0]));
        let keyed =
            |addr, len, prot, number| Some((nr::PKEY_MPROTECT, [addr, len, prot, key(number)]));
        match self {
            Self::MprotectUnaligned => protect(page + 1, PAGE, R),
            Self::MprotectNoLength => protect(page, 0, R),
            Self::MprotectWrap => protect(page, u64::MAX - 2 * PAGE + 1, R),
            Self::MprotectRoundedToNothing => protect(page, u64::MAX, R),
            Self::MprotectUnknownProt => protect(page, PAGE, R | 0x10),
            Self::MprotectGrowsBoth => protect(page, PAGE, R | 0x300_0000),
            Self::MprotectGrowsDown => protect(page, PAGE, R | 0x100_0000),
            Self::MprotectGrowsUp => protect(page, PAGE, R | 0x200_0000),
            Self::MprotectUnmapped => protect(page + FAR, PAGE, R),
            Self::MprotectKernelHalf => protect(KERNEL_HALF, PAGE, R),
            Self::PkeyMprotectNothing => keyed(page, 0, RW, 115),
            Self::PkeyMprotectNothingFree => keyed(page, 0, RW, 15),
            Self::PkeyMprotectUnaligned => keyed(page + 1, PAGE, RW, 115),
            Self::PkeyMprotectUnknownProt => keyed(page, PAGE, RW | 0x10, 115),
            Self::PkeyMprotectUnmapped => keyed(page + FAR, PAGE, RW, 115),
            Self::PkeyMprotectWrap => keyed(page, u64::MAX - 2 * PAGE + 1, RW, 115),
            Self::PkeyMprotectMinusTwo => keyed(page, PAGE, RW, -2),
            Self::PkeyMprotectSixteen => keyed(page, PAGE, RW, 16),
            Self::PkeyMprotect115 => keyed(page, PAGE, RW, 115),
            Self::PkeyMprotectLowest => keyed(page, PAGE, RW, i32::MIN),
            Self::PkeyMprotectHighest => keyed(page, PAGE, RW, i32::MAX),
            Self::PkeyMprotectUpperHalf => Some((nr::PKEY_MPROTECT, [page, PAGE, RW, 1 << 32])),
            _ => None,
        }
    }

    fn keys(self, _: u64) -> Option<(u64, [u64; 4])> {
        let alloc = |flags, rights| Some((nr::PKEY_ALLOC, [flags, rights, 0, 0]));
        let free = |number| Some((nr::PKEY_FREE, [number, 0, 0, 0]));
        match self {
            Self::PkeyAllocFlag => alloc(1, 0),
            Self::PkeyAllocUpperFlag => alloc(1 << 40, 0),
            Self::PkeyAllocRights => alloc(0, 4),
            Self::PkeyAllocUpperRights => alloc(0, 1 << 32 | 1),
            Self::PkeyAllocBoth => alloc(2, 8),
            Self::PkeyFreeMinusOne => free(key(-1)),
            Self::PkeyFreeMinusTwo => free(key(-2)),
            Self::PkeyFreeSixteen => free(16),
            Self::PkeyFree115 => free(115),
            Self::PkeyFreeLowest => free(key(i32::MIN)),
            Self::PkeyFreeHighest => free(key(i32::MAX)),
            Self::PkeyFreeUpperHalf => free(1 << 32 | 15),
            _ => None,
        }
    }

    fn rest(self, page: u64) -> (u64, [u64; 4]) {
        let remap = |addr, new_len, flags| (nr::MREMAP, [addr, PAGE, new_len, flags]);
        let advise = |addr, len, advice| (nr::MADVISE, [addr, len, advice, 0]);
        match self {
            Self::MremapUnaligned => remap(page + 1, PAGE, MOVE),
            Self::MremapNoLength => remap(page, 0, MOVE),
            Self::MremapUnknownFlag => remap(page, PAGE, MOVE | 8),
            Self::MremapStays => remap(page, PAGE, 2),
            Self::MremapOverlap | Self::MremapUnalignedTarget | Self::MremapKernelHalf => {
                remap(page, PAGE, MOVE)
            }
            Self::MremapLeavingResized => remap(page, 2 * PAGE, MOVE | 4),
            Self::MremapUnmapped => remap(page + FAR, PAGE, MOVE),
            Self::MadviseUnaligned => advise(page + 1, PAGE, DONT_NEED),
            Self::MadviseUnknown => advise(page, PAGE, 9999),
            Self::MadviseWrap => advise(page, u64::MAX - 2 * PAGE + 1, DONT_NEED),
            Self::MadviseNoLength => advise(page, 0, DONT_NEED),
            Self::MadviseUnmapped => advise(page + FAR, PAGE, DONT_NEED),
            Self::MsealFlag => (nr::MSEAL, [page, PAGE, 1, 0]),
            Self::MsealUnaligned => (nr::MSEAL, [page + 1, PAGE, 0, 0]),
            Self::MsealNoLength => (nr::MSEAL, [page, 0, 0, 0]),
            Self::ReadBadDescriptor => (nr::READ, [NO_DESCRIPTOR, page, 1, 0]),
            Self::WriteBadDescriptor => (nr::WRITE, [NO_DESCRIPTOR, page, 1, 0]),
            _ => (NOT_A_CALL, [0; 4]),
        }
    }

    /// Whether pages from the given one on may be other ones afterwards, as far as the programs know.
    #[must_use]
    pub const fn may_change_pages(self) -> bool {
        matches!(
            self,
            Self::MmapUnknownProt
                | Self::MmapTooLong
                | Self::MunmapWrap
                | Self::PkeyMprotectUpperHalf
                | Self::MremapUnmapped
                | Self::MremapLeavingResized
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Defect, NOT_A_CALL};

    #[test]
    fn every_defect_has_a_call_of_its_own() {
        let page = 0x1000_0000;
        let calls: Vec<_> = Defect::ALL.iter().map(|defect| defect.call(page)).collect();
        for (index, call) in calls.iter().enumerate() {
            assert!(!calls[..index].contains(call), "{:?}", Defect::ALL[index]);
        }
        let unknown = calls.iter().filter(|call| call.0 == NOT_A_CALL).count();
        assert_eq!(unknown, 1);
    }
}
