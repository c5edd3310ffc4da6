//! Descriptors: how segments, the TSS and the gates of the interrupt table are put together.
//!
//! In 64-bit mode a segment is little more than a privilege level. SYSCALL and SYSRET prescribe the order: the kernel's
//! data segment follows its code segment, the user's code segment follows the user's data segment. Programs see the
//! selectors of their segments, in signal frames for one, and are to find there what they find on Linux.
//!
//! Source: SDM Vol. 3A, 3.4.5 (segments), 6.14.1 (gates), 7.2.3 (TSS descriptor), 5.8.8 (SYSCALL).

/// The selector of the kernel's code segment.
pub const KERNEL_CODE: u16 = 0x08;
/// The selector of the kernel's stack segment.
pub const KERNEL_DATA: u16 = 0x10;
/// The selector of user data, for level 3.
pub const USER_DATA: u16 = 0x28 | 3;
/// The selector of user code, for level 3.
pub const USER_CODE: u16 = 0x30 | 3;
/// The selector of the task state segment.
pub const TSS: u16 = 0x38;

/// The number of entries: null, the four segments, two between them that are empty, and the TSS with two.
pub const LEN: usize = 9;

/// The value of the MSR STAR that makes SYSCALL load the kernel's segments, and SYSRET the user's.
pub const STAR: u64 = (KERNEL_CODE as u64) << 32 | (USER_DATA as u64 - 8) << 48;

/// A global descriptor table with a TSS of `len` bytes at `tss`.
#[must_use]
pub const fn table(tss: u64, len: u64) -> [u64; LEN] {
    let [low, high] = task_state(tss, len);
    [
        0,
        0x00AF_9B00_0000_FFFF,
        0x00CF_9300_0000_FFFF,
        0,
        0,
        0x00CF_F300_0000_FFFF,
        0x00AF_FB00_0000_FFFF,
        low,
        high,
    ]
}

/// The two halves of the descriptor of an available 64-bit TSS.
const fn task_state(base: u64, len: u64) -> [u64; 2] {
    let limit = len - 1;
    let low = limit & 0xFFFF
        | (base & 0xFF_FFFF) << 16
        | 0x89 << 40
        | (limit >> 16 & 0xF) << 48
        | (base >> 24 & 0xFF) << 56;
    [low, base >> 32]
}

/// The two halves of an interrupt gate: the handler's address, the stack of the TSS that it runs on (0: the current
/// one), and the lowest privilege from which an INT instruction may reach it.
#[must_use]
pub const fn gate(handler: u64, ist: u8, privilege: u8) -> [u64; 2] {
    let low = handler & 0xFFFF
        | (KERNEL_CODE as u64) << 16
        | (ist as u64 & 7) << 32
        | (0x8E | (privilege as u64 & 3) << 5) << 40
        | (handler >> 16 & 0xFFFF) << 48;
    [low, handler >> 32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_holds_the_address_in_three_parts() {
        let [low, high] = gate(0xFFFF_FFFF_8123_4567, 3, 3);
        assert_eq!(low, 0x8123_EE03_0008_4567);
        assert_eq!(high, 0xFFFF_FFFF);
        assert_eq!(gate(0, 0, 0)[0], 0x0000_8E00_0008_0000);
    }

    #[test]
    fn the_tss_descriptor_holds_its_base_in_four_parts() {
        let table = table(0xFFFF_8765_4321_0FED, 104);
        assert_eq!(table[7], 0x4300_8921_0FED_0067);
        assert_eq!(table[8], 0xFFFF_8765);
    }

    /// The user's are those of Linux: `__USER_DS` and `__USER_CS`.
    #[test]
    fn selectors_lead_to_their_segments() {
        let table = table(0, 104);
        for (selector, access) in [
            (KERNEL_CODE, 0x9B),
            (KERNEL_DATA, 0x93),
            (USER_DATA, 0xF3),
            (USER_CODE, 0xFB),
            (TSS, 0x89),
        ] {
            let entry = table[usize::from(selector / 8)];
            assert_eq!(entry >> 40 & 0xFF, access, "{selector:#x}");
        }
        assert_eq!((USER_DATA, USER_CODE), (0x2B, 0x33));
    }

    /// SYSCALL loads CS from bits 47:32 of STAR and SS from 8 above; SYSRET loads SS from bits 63:48 plus 8 and CS from
    /// those plus 16.
    #[test]
    fn the_order_is_the_one_of_syscall() {
        assert_eq!(STAR >> 32 & 0xFFFF, u64::from(KERNEL_CODE));
        assert_eq!(KERNEL_CODE + 8, KERNEL_DATA);
        assert_eq!((STAR >> 48) + 8, u64::from(USER_DATA));
        assert_eq!((STAR >> 48) + 16, u64::from(USER_CODE));
    }
}
