//! Threads and processes: the constants of the calls that make them, wait for them and trace them.
//!
//! Source: Linux `include/uapi/linux/sched.h`, `wait.h`, `ptrace.h`, `futex.h`, `elf.h`.

constants! { u64:
    /// `CSIGNAL`: the bits of `clone(2)` for the signal at the child's end.
    CSIGNAL = 0xFF;
    /// `CLONE_VM`: the same address space.
    CLONE_VM = 0x100;
    /// `CLONE_FS`: the same working directory; without meaning here.
    CLONE_FS = 0x200;
    /// `CLONE_FILES`: the same descriptors.
    CLONE_FILES = 0x400;
    /// `CLONE_SIGHAND`: the same signal handlers.
    CLONE_SIGHAND = 0x800;
    /// `CLONE_PTRACE`: a tracer traces the child as well.
    CLONE_PTRACE = 0x2000;
    /// `CLONE_VFORK`: the caller waits until the child executes a program or ends.
    CLONE_VFORK = 0x4000;
    /// `CLONE_PARENT`: the child's parent is the caller's.
    CLONE_PARENT = 0x8000;
    /// `CLONE_THREAD`: a thread of the same process.
    CLONE_THREAD = 0x1_0000;
    /// `CLONE_SYSVSEM`: without meaning here.
    CLONE_SYSVSEM = 0x4_0000;
    /// `CLONE_SETTLS`: the child's FS base is given.
    CLONE_SETTLS = 0x8_0000;
    /// `CLONE_PARENT_SETTID`: the child's number is stored for the caller.
    CLONE_PARENT_SETTID = 0x10_0000;
    /// `CLONE_CHILD_CLEARTID`: at the thread's end a word is cleared and its waiters are woken.
    CLONE_CHILD_CLEARTID = 0x20_0000;
    /// `CLONE_DETACHED`: without meaning.
    CLONE_DETACHED = 0x40_0000;
    /// `CLONE_UNTRACED`: no tracer may insist on tracing the child.
    CLONE_UNTRACED = 0x80_0000;
    /// `CLONE_CHILD_SETTID`: the child's number is stored in the child's memory.
    CLONE_CHILD_SETTID = 0x100_0000;
    /// `CLONE_IO`: without meaning here.
    CLONE_IO = 0x8000_0000;
}

constants! { u32:
    /// `WNOHANG`: `wait4(2)` does not wait.
    WNOHANG = 1;
    /// `WUNTRACED`: stopped children are reported, too.
    WUNTRACED = 2;
    /// `WCONTINUED`: so are those that go on.
    WCONTINUED = 8;
    /// `__WNOTHREAD`: only the children of this very thread; without meaning here.
    WNOTHREAD = 0x2000_0000;
    /// `__WALL`: children whatever signal they send at their end.
    WALL = 0x4000_0000;
    /// `__WCLONE`: only children that send another signal than SIGCHLD.
    WCLONE = 0x8000_0000;
}

constants! { u64:
    /// `PTRACE_TRACEME`.
    PTRACE_TRACEME = 0;
    /// `PTRACE_PEEKTEXT`.
    PTRACE_PEEKTEXT = 1;
    /// `PTRACE_PEEKDATA`.
    PTRACE_PEEKDATA = 2;
    /// `PTRACE_POKETEXT`.
    PTRACE_POKETEXT = 4;
    /// `PTRACE_POKEDATA`.
    PTRACE_POKEDATA = 5;
    /// `PTRACE_CONT`.
    PTRACE_CONT = 7;
    /// `PTRACE_KILL`.
    PTRACE_KILL = 8;
    /// `PTRACE_ATTACH`.
    PTRACE_ATTACH = 16;
    /// `PTRACE_DETACH`.
    PTRACE_DETACH = 17;
    /// `PTRACE_GETREGSET`.
    PTRACE_GETREGSET = 0x4204;
    /// `PTRACE_SETREGSET`.
    PTRACE_SETREGSET = 0x4205;
    /// `PTRACE_SEIZE`.
    PTRACE_SEIZE = 0x4206;
    /// `PTRACE_INTERRUPT`.
    PTRACE_INTERRUPT = 0x4207;
    /// `PTRACE_O_MASK`: every option of `PTRACE_SEIZE` that Linux has.
    PTRACE_O_MASK = 0x30_00FF;

    /// `NT_PRSTATUS`: the general registers, as `struct user_regs_struct`.
    NT_PRSTATUS = 1;
    /// `NT_X86_XSTATE`: the extended state, as an XSAVE area.
    NT_X86_XSTATE = 0x202;
}

constants! { i32:
    /// `PTRACE_EVENT_STOP`: the stop of `PTRACE_INTERRUPT`.
    PTRACE_EVENT_STOP = 128;

    /// `ARCH_SET_GS`: the base of GS is set.
    ARCH_SET_GS = 0x1001;
    /// `ARCH_SET_FS`: the base of FS is set.
    ARCH_SET_FS = 0x1002;
    /// `ARCH_GET_FS`: the base of FS is stored.
    ARCH_GET_FS = 0x1003;
    /// `ARCH_GET_GS`: the base of GS is stored.
    ARCH_GET_GS = 0x1004;

    /// `PR_SET_PDEATHSIG`: the signal at the end of the parent.
    PR_SET_PDEATHSIG = 1;
    /// `PR_GET_PDEATHSIG`: that signal is stored.
    PR_GET_PDEATHSIG = 2;
    /// `PR_SET_NAME`: the thread's name.
    PR_SET_NAME = 15;
    /// `PR_GET_NAME`: that name is stored.
    PR_GET_NAME = 16;
}

constants! { u64:
    /// `CLONE_CLEAR_SIGHAND`: the child starts without handlers.
    CLONE_CLEAR_SIGHAND = 0x1_0000_0000;
    /// `RLIM_INFINITY`: no limit.
    RLIM_INFINITY = u64::MAX;
}

constants! { u32:
    /// `FUTEX_WAIT`.
    FUTEX_WAIT = 0;
    /// `FUTEX_WAKE`.
    FUTEX_WAKE = 1;
    /// `FUTEX_REQUEUE`: wakes some waiters, and lets others wait for a second word.
    FUTEX_REQUEUE = 3;
    /// `FUTEX_CMP_REQUEUE`: the same, if the first word is as expected.
    FUTEX_CMP_REQUEUE = 4;
    /// `FUTEX_WAKE_OP`: changes a second word, and wakes waiters of both.
    FUTEX_WAKE_OP = 5;
    /// `FUTEX_WAIT_BITSET`: waits for those that wake with one of some bits, and until a time.
    FUTEX_WAIT_BITSET = 9;
    /// `FUTEX_WAKE_BITSET`: wakes those that wait with one of some bits.
    FUTEX_WAKE_BITSET = 10;
    /// `FUTEX_BITSET_MATCH_ANY`: all bits.
    FUTEX_BITSET_MATCH_ANY = u32::MAX;
    /// `FUTEX_WAITERS`: of a word that says who owns it, that somebody waits.
    FUTEX_WAITERS = 0x8000_0000;
    /// `FUTEX_OWNER_DIED`: that its owner has ended.
    FUTEX_OWNER_DIED = 0x4000_0000;
    /// `FUTEX_TID_MASK`: the owner's number.
    FUTEX_TID_MASK = 0x3FFF_FFFF;
    /// `FUTEX_PRIVATE_FLAG`: waiters and wakers are of one process.
    FUTEX_PRIVATE_FLAG = 128;
    /// `FUTEX_CLOCK_REALTIME`.
    FUTEX_CLOCK_REALTIME = 256;

    /// `O_ACCMODE`: for reading (0), for writing (1), for both (2), for neither (3).
    O_ACCMODE = 3;
    /// `O_NONBLOCK`.
    O_NONBLOCK = 0o4000;
    /// `O_DIRECT`: of a pipe, each write is a packet.
    O_DIRECT = 0o40000;
    /// `O_LARGEFILE`: without meaning.
    O_LARGEFILE = 0o100_000;
    /// `O_CLOEXEC`.
    O_CLOEXEC = 0o2_000_000;

    /// `RLIMIT_STACK`.
    RLIMIT_STACK = 3;
    /// `RLIMIT_CORE`.
    RLIMIT_CORE = 4;
    /// `RLIMIT_NPROC`.
    RLIMIT_NPROC = 6;
    /// `RLIMIT_NOFILE`.
    RLIMIT_NOFILE = 7;
    /// `RLIMIT_NICE`.
    RLIMIT_NICE = 13;
    /// `RLIMIT_RTPRIO`.
    RLIMIT_RTPRIO = 14;
    /// `RLIM_NLIMITS`: how many there are.
    RLIM_NLIMITS = 16;

    /// `MFD_CLOEXEC`.
    MFD_CLOEXEC = 1;
    /// `MFD_ALLOW_SEALING`: without meaning, since nothing seals here.
    MFD_ALLOW_SEALING = 2;
}
