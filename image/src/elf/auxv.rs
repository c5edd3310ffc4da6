//! The auxiliary vector: what a kernel tells a program beside its arguments.
//!
//! Source: Linux `include/uapi/linux/auxvec.h`, `arch/x86/include/uapi/asm/auxvec.h`; getauxval(3).

/// The type of an entry, `a_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
#[non_exhaustive]
pub enum Aux {
    /// `AT_NULL`: the end.
    Null = 0,
    /// `AT_PHDR`: where the program headers are.
    ProgramHeaders = 3,
    /// `AT_PHENT`: the bytes of one.
    ProgramHeaderLen = 4,
    /// `AT_PHNUM`: how many.
    NrProgramHeaders = 5,
    /// `AT_PAGESZ`.
    PageSize = 6,
    /// `AT_BASE`: where the dynamic loader is; 0 without one.
    Base = 7,
    /// `AT_FLAGS`: 0.
    Flags = 8,
    /// `AT_ENTRY`: where the program starts.
    Entry = 9,
    /// `AT_UID`.
    Uid = 11,
    /// `AT_EUID`.
    Euid = 12,
    /// `AT_GID`.
    Gid = 13,
    /// `AT_EGID`.
    Egid = 14,
    /// `AT_PLATFORM`: a string.
    Platform = 15,
    /// `AT_HWCAP`: EDX of CPUID leaf 1.
    Hwcap = 16,
    /// `AT_CLKTCK`: the unit of `times(2)`, per second.
    ClockTicks = 17,
    /// `AT_SECURE`: whether the program got rights by being executed.
    Secure = 23,
    /// `AT_RANDOM`: 16 random bytes.
    Random = 25,
    /// `AT_HWCAP2`: bit 1 says that the instructions for the FS and GS bases may be used.
    Hwcap2 = 26,
    /// `AT_EXECFN`: the path that was executed.
    ExecFn = 31,
    /// `AT_MINSIGSTKSZ`: how much stack a signal takes.
    MinSignalStack = 51,
}
