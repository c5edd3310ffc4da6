//! Numbers of system calls.
//!
//! Linux's own for what Linux has. The calls that Linux dropped have numbers of this library, far above Linux's, so that
//! a program that uses them on Linux gets `ENOSYS` and not somebody else's call.

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: u64 = $number;)*
    };
}

numbers! {
    /// `read(2)`.
    READ = 0;
    /// `write(2)`.
    WRITE = 1;
    /// `open(2)`.
    OPEN = 2;
    /// `close(2)`.
    CLOSE = 3;
    /// `lseek(2)`.
    LSEEK = 8;
    /// `mmap(2)`.
    MMAP = 9;
    /// `mprotect(2)`.
    MPROTECT = 10;
    /// `munmap(2)`.
    MUNMAP = 11;
    /// `rt_sigaction(2)`.
    RT_SIGACTION = 13;
    /// `rt_sigprocmask(2)`.
    RT_SIGPROCMASK = 14;
    /// `rt_sigreturn(2)`.
    RT_SIGRETURN = 15;
    /// `pread64(2)`.
    PREAD64 = 17;
    /// `pwrite64(2)`.
    PWRITE64 = 18;
    /// `sched_yield(2)`.
    SCHED_YIELD = 24;
    /// `mremap(2)`.
    MREMAP = 25;
    /// `madvise(2)`.
    MADVISE = 28;
    /// `getpid(2)`.
    GETPID = 39;
    /// `clone(2)`.
    CLONE = 56;
    /// `fork(2)`.
    FORK = 57;
    /// `vfork(2)`.
    VFORK = 58;
    /// `execve(2)`.
    EXECVE = 59;
    /// `exit(2)`.
    EXIT = 60;
    /// `wait4(2)`.
    WAIT4 = 61;
    /// `kill(2)`.
    KILL = 62;
    /// `ftruncate(2)`.
    FTRUNCATE = 77;
    /// `ptrace(2)`.
    PTRACE = 101;
    /// `getppid(2)`.
    GETPPID = 110;
    /// `rt_sigpending(2)`.
    RT_SIGPENDING = 127;
    /// `sigaltstack(2)`.
    SIGALTSTACK = 131;
    /// `gettid(2)`.
    GETTID = 186;
    /// `tkill(2)`.
    TKILL = 200;
    /// `futex(2)`.
    FUTEX = 202;
    /// `set_tid_address(2)`.
    SET_TID_ADDRESS = 218;
    /// `exit_group(2)`.
    EXIT_GROUP = 231;
    /// `tgkill(2)`.
    TGKILL = 234;
    /// `vmsplice(2)`.
    VMSPLICE = 278;
    /// `pipe2(2)`.
    PIPE2 = 293;
    /// `process_vm_readv(2)`.
    PROCESS_VM_READV = 310;
    /// `process_vm_writev(2)`.
    PROCESS_VM_WRITEV = 311;
    /// `memfd_create(2)`.
    MEMFD_CREATE = 319;
    /// `pkey_mprotect(2)`.
    PKEY_MPROTECT = 329;
    /// `pkey_alloc(2)`.
    PKEY_ALLOC = 330;
    /// `pkey_free(2)`.
    PKEY_FREE = 331;
    /// `mseal(2)`, since Linux 6.10.
    MSEAL = 462;
    /// `pkey_get(pkey, flags)`, this library's own.
    PKEY_GET = 0x1000;
    /// `pkey_set(pkey, rights, flags)`, this library's own.
    PKEY_SET = 0x1001;
    /// `pkey_page()`, this library's own: the address of the page on which user space reads the allocation map.
    PKEY_PAGE = 0x1002;
}
