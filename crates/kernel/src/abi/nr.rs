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
    /// `fstat(2)`.
    FSTAT = 5;
    /// `poll(2)`.
    POLL = 7;
    /// `lseek(2)`.
    LSEEK = 8;
    /// `mmap(2)`.
    MMAP = 9;
    /// `mprotect(2)`.
    MPROTECT = 10;
    /// `munmap(2)`.
    MUNMAP = 11;
    /// `brk(2)`.
    BRK = 12;
    /// `rt_sigaction(2)`.
    RT_SIGACTION = 13;
    /// `rt_sigprocmask(2)`.
    RT_SIGPROCMASK = 14;
    /// `rt_sigreturn(2)`.
    RT_SIGRETURN = 15;
    /// `ioctl(2)`.
    IOCTL = 16;
    /// `pread64(2)`.
    PREAD64 = 17;
    /// `pwrite64(2)`.
    PWRITE64 = 18;
    /// `readv(2)`.
    READV = 19;
    /// `writev(2)`.
    WRITEV = 20;
    /// `pipe(2)`.
    PIPE = 22;
    /// `sched_yield(2)`.
    SCHED_YIELD = 24;
    /// `mremap(2)`.
    MREMAP = 25;
    /// `madvise(2)`.
    MADVISE = 28;
    /// `dup(2)`.
    DUP = 32;
    /// `dup2(2)`.
    DUP2 = 33;
    /// `pause(2)`.
    PAUSE = 34;
    /// `nanosleep(2)`.
    NANOSLEEP = 35;
    /// `getpid(2)`.
    GETPID = 39;
    /// `sendto(2)`.
    SENDTO = 44;
    /// `recvfrom(2)`.
    RECVFROM = 45;
    /// `socketpair(2)`.
    SOCKETPAIR = 53;
    /// `setsockopt(2)`.
    SETSOCKOPT = 54;
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
    /// `uname(2)`.
    UNAME = 63;
    /// `fcntl(2)`.
    FCNTL = 72;
    /// `ftruncate(2)`.
    FTRUNCATE = 77;
    /// `getcwd(2)`.
    GETCWD = 79;
    /// `readlink(2)`.
    READLINK = 89;
    /// `gettimeofday(2)`.
    GETTIMEOFDAY = 96;
    /// `ptrace(2)`.
    PTRACE = 101;
    /// `getuid(2)`.
    GETUID = 102;
    /// `getgid(2)`.
    GETGID = 104;
    /// `geteuid(2)`.
    GETEUID = 107;
    /// `getegid(2)`.
    GETEGID = 108;
    /// `getppid(2)`.
    GETPPID = 110;
    /// `rt_sigpending(2)`.
    RT_SIGPENDING = 127;
    /// `rt_sigtimedwait(2)`.
    RT_SIGTIMEDWAIT = 128;
    /// `rt_sigsuspend(2)`.
    RT_SIGSUSPEND = 130;
    /// `sigaltstack(2)`.
    SIGALTSTACK = 131;
    /// `prctl(2)`.
    PRCTL = 157;
    /// `arch_prctl(2)`.
    ARCH_PRCTL = 158;
    /// `gettid(2)`.
    GETTID = 186;
    /// `tkill(2)`.
    TKILL = 200;
    /// `time(2)`.
    TIME = 201;
    /// `futex(2)`.
    FUTEX = 202;
    /// `sched_getaffinity(2)`.
    SCHED_GETAFFINITY = 204;
    /// `set_tid_address(2)`.
    SET_TID_ADDRESS = 218;
    /// `clock_gettime(2)`.
    CLOCK_GETTIME = 228;
    /// `clock_getres(2)`.
    CLOCK_GETRES = 229;
    /// `clock_nanosleep(2)`.
    CLOCK_NANOSLEEP = 230;
    /// `exit_group(2)`.
    EXIT_GROUP = 231;
    /// `tgkill(2)`.
    TGKILL = 234;
    /// `openat(2)`.
    OPENAT = 257;
    /// `newfstatat(2)`.
    NEWFSTATAT = 262;
    /// `readlinkat(2)`.
    READLINKAT = 267;
    /// `set_robust_list(2)`.
    SET_ROBUST_LIST = 273;
    /// `get_robust_list(2)`.
    GET_ROBUST_LIST = 274;
    /// `vmsplice(2)`.
    VMSPLICE = 278;
    /// `dup3(2)`.
    DUP3 = 292;
    /// `pipe2(2)`.
    PIPE2 = 293;
    /// `prlimit(2)`.
    PRLIMIT64 = 302;
    /// `getcpu(2)`.
    GETCPU = 309;
    /// `process_vm_readv(2)`.
    PROCESS_VM_READV = 310;
    /// `process_vm_writev(2)`.
    PROCESS_VM_WRITEV = 311;
    /// `getrandom(2)`.
    GETRANDOM = 318;
    /// `memfd_create(2)`.
    MEMFD_CREATE = 319;
    /// `pkey_mprotect(2)`.
    PKEY_MPROTECT = 329;
    /// `pkey_alloc(2)`.
    PKEY_ALLOC = 330;
    /// `pkey_free(2)`.
    PKEY_FREE = 331;
    /// `statx(2)`.
    STATX = 332;
    /// `rseq(2)`, which is known, and not there: `ENOSYS`.
    RSEQ = 334;
    /// `clone3(2)`.
    CLONE3 = 435;
    /// `mseal(2)`, since Linux 6.10.
    MSEAL = 462;
    /// `pkey_get(pkey, flags)`, this library's own.
    PKEY_GET = 0x1000;
    /// `pkey_set(pkey, rights, flags)`, this library's own.
    PKEY_SET = 0x1001;
    /// `pkey_page()`, this library's own: the address of the page on which user space reads the allocation map.
    PKEY_PAGE = 0x1002;
}
