//! Signals: their numbers, and the constants of the calls about them.
//!
//! Source: Linux `include/uapi/asm-generic/signal.h`, `arch/x86/include/uapi/asm/signal.h`, `siginfo.h`; `signal(7)`.

constants! { u64:
    /// The size of `sigset_t`, as the calls want it told.
    SIGSET_LEN = 8;
}

constants! { i32:
    /// `SIGHUP`.
    SIGHUP = 1;
    /// `SIGINT`.
    SIGINT = 2;
    /// `SIGILL`.
    SIGILL = 4;
    /// `SIGTRAP`.
    SIGTRAP = 5;
    /// `SIGABRT`.
    SIGABRT = 6;
    /// `SIGBUS`.
    SIGBUS = 7;
    /// `SIGFPE`.
    SIGFPE = 8;
    /// `SIGKILL`: cannot be blocked, ignored or handled.
    SIGKILL = 9;
    /// `SIGUSR1`.
    SIGUSR1 = 10;
    /// `SIGSEGV`.
    SIGSEGV = 11;
    /// `SIGUSR2`.
    SIGUSR2 = 12;
    /// `SIGPIPE`.
    SIGPIPE = 13;
    /// `SIGTERM`.
    SIGTERM = 15;
    /// `SIGCHLD`: ignored by default.
    SIGCHLD = 17;
    /// `SIGCONT`: lets a stopped process go on; ignored by default.
    SIGCONT = 18;
    /// `SIGSTOP`: stops, and cannot be blocked, ignored or handled.
    SIGSTOP = 19;
    /// `SIGTSTP`: stops by default.
    SIGTSTP = 20;
    /// `SIGTTIN`: stops by default.
    SIGTTIN = 21;
    /// `SIGTTOU`: stops by default.
    SIGTTOU = 22;
    /// `SIGURG`: ignored by default.
    SIGURG = 23;
    /// `SIGWINCH`: ignored by default.
    SIGWINCH = 28;
    /// `SIGSYS`.
    SIGSYS = 31;
    /// `SIGRTMIN`, as the kernel counts: from here on signals queue.
    SIGRTMIN = 32;
    /// `SIGRTMAX`: the last signal.
    SIGRTMAX = 64;

    /// `si_code`: sent by `kill(2)`.
    SI_USER = 0;
    /// `si_code`: sent by `tkill(2)` and `tgkill(2)`.
    SI_TKILL = -6;
    /// `si_code` of SIGBUS: there is no memory behind the address.
    BUS_ADRERR = 2;
    /// `si_code` of SIGCHLD: the child has ended itself.
    CLD_EXITED = 1;
    /// `si_code` of SIGCHLD: the child was killed.
    CLD_KILLED = 2;
    /// `si_code` of SIGCHLD: a traced child has stopped.
    CLD_TRAPPED = 4;
    /// `si_code` of SIGCHLD: the child was stopped.
    CLD_STOPPED = 5;
    /// `si_code` of SIGCHLD: the child goes on.
    CLD_CONTINUED = 6;

    /// `how` of `rt_sigprocmask(2)`: the set is added to the mask.
    SIG_BLOCK = 0;
    /// `how` of `rt_sigprocmask(2)`: the set is taken from the mask.
    SIG_UNBLOCK = 1;
    /// `how` of `rt_sigprocmask(2)`: the set becomes the mask.
    SIG_SETMASK = 2;
}

constants! { u64:
    /// `SIG_DFL`: the handler's address for the default action.
    SIG_DFL = 0;
    /// `SIG_IGN`: the handler's address for ignoring.
    SIG_IGN = 1;

    /// `SA_NOCLDSTOP`: no SIGCHLD when a child stops.
    SA_NOCLDSTOP = 1;
    /// `SA_NOCLDWAIT`: children do not become zombies.
    SA_NOCLDWAIT = 2;
    /// `SA_SIGINFO`: the handler gets a `siginfo_t`.
    SA_SIGINFO = 4;
    /// `SA_EXPOSE_TAGBITS`: without meaning on x86.
    SA_EXPOSE_TAGBITS = 0x800;
    /// `SA_RESTORER`: `sa_restorer` is set, which x86-64 requires.
    SA_RESTORER = 0x0400_0000;
    /// `SA_ONSTACK`: the handler runs on the alternate stack.
    SA_ONSTACK = 0x0800_0000;
    /// `SA_RESTART`: system calls that the signal interrupts are started over.
    SA_RESTART = 0x1000_0000;
    /// `SA_NODEFER`: the signal is not blocked during its handler.
    SA_NODEFER = 0x4000_0000;
    /// `SA_RESETHAND`: the default action comes back when the handler starts.
    SA_RESETHAND = 0x8000_0000;
    /// Every flag that is kept; others are dropped without an error.
    SA_ALL = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_EXPOSE_TAGBITS | SA_RESTORER
        | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND;

    /// `MINSIGSTKSZ`: the smallest alternate stack.
    MINSIGSTKSZ = 2048;

    /// `UC_FP_XSTATE` in `uc_flags`: the frame's extended state is in the format of XSAVE.
    UC_FP_XSTATE = 1;
    /// `UC_SIGCONTEXT_SS` in `uc_flags`: the frame has SS.
    UC_SIGCONTEXT_SS = 2;
    /// `UC_STRICT_RESTORE_SS` in `uc_flags`: SS is restored as it stands in the frame.
    UC_STRICT_RESTORE_SS = 4;
}

constants! { u32:
    /// `SS_ONSTACK`: the thread runs on its alternate stack.
    SS_ONSTACK = 1;
    /// `SS_DISABLE`: there is no alternate stack.
    SS_DISABLE = 2;
    /// `SS_AUTODISARM`: the alternate stack is given up while a handler runs.
    SS_AUTODISARM = 1 << 31;
}
