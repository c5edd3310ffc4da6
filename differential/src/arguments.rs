//! What steps are about: the few values that their arguments have, apart from pages, keys and registers.

use crate::field::choices;

choices! {
    /// Where steps run.
    Place {
        /// The first thread of the batch's process.
        Main,
        /// A second thread of it.
        ThreadA,
        /// A third thread of it.
        ThreadB,
        /// A child by `fork(2)`.
        Child,
        /// A child by `fork(2)` and `execve(2)`.
        Exec,
    }

    /// What `mmap(2)` is asked for.
    Mapping {
        /// `MAP_PRIVATE | MAP_ANONYMOUS`.
        Private,
        /// `MAP_SHARED | MAP_ANONYMOUS`.
        Shared,
        /// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE`.
        Populated,
        /// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE`, which neighbours have to agree in.
        NoReserve,
        /// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK`, likewise.
        Stack,
        /// `MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE`.
        SharedPopulated,
    }

    /// At which address.
    Fixing {
        /// `MAP_FIXED`.
        Fixed,
        /// `MAP_FIXED_NOREPLACE`.
        NoReplace,
    }

    /// How pages are moved or resized by `mremap(2)`.
    Move {
        /// `MREMAP_MAYMOVE | MREMAP_FIXED`.
        Same,
        /// The same, and a page more afterwards.
        Growing,
        /// The same, and one page afterwards.
        Shrinking,
        /// `MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP`.
        Leaving,
        /// No flags: grows by a page where it stands.
        InPlace,
        /// No flags: shrinks to one page where it stands.
        Cut,
    }

    /// The advice of `madvise(2)`.
    Advice {
        /// `MADV_NORMAL`.
        Normal,
        /// `MADV_RANDOM`, which neighbours have to agree in.
        Random,
        /// `MADV_SEQUENTIAL`, likewise.
        Sequential,
        /// `MADV_WILLNEED`.
        WillNeed,
        /// `MADV_DONTNEED`.
        DontNeed,
        /// `MADV_POPULATE_READ`.
        PopulateRead,
        /// `MADV_POPULATE_WRITE`.
        PopulateWrite,
    }

    /// A byte's place in its page.
    Offset {
        /// The first.
        First,
        /// The ninth.
        Ninth,
        /// One of the word that `futex(2)` is about.
        Word,
        /// One in the middle.
        Middle,
        /// The eighth from the end: eight bytes from here stay in the page, sixteen do not.
        Eighth,
        /// The last.
        Last,
    }

    /// How many bytes the kernel copies.
    Length {
        /// One.
        One,
        /// Eight.
        Eight,
        /// Sixteen.
        Sixteen,
    }

    /// What is done under a register of its own.
    BareAct {
        /// A read of the page's first byte.
        Read,
        /// A write to it.
        Write,
        /// A call to the RET in the page, on a stack in the window.
        Call,
        /// `SIGUSR1` to itself.
        Raise,
        /// `pkey_alloc(0, 0)`.
        PkeyAlloc,
        /// `pkey_free(1)`.
        PkeyFree,
        /// `mprotect(page, 1 page, PROT_READ | PROT_WRITE)`.
        Mprotect,
    }

    /// What is done with a handler of the program's own in place.
    HandledAct {
        /// A read of the page's first byte.
        Read,
        /// A write to it.
        Write,
        /// A call to the RET in the page.
        Call,
        /// `SIGUSR1` to itself.
        Raise,
    }

    /// What the handler does to PKRU in the frame.
    Edit {
        /// Nothing.
        Keep,
        /// Writes a value.
        Set,
        /// Clears bit 9 of `XSTATE_BV`.
        Clear,
    }

    /// How the handler lets the interrupted code go on.
    Way {
        /// Behind the instruction.
        Skip,
        /// At the instruction: it is tried again, and skipped the next time.
        Retry,
    }

    /// What else the handler does.
    Inside {
        /// Nothing.
        Nothing,
        /// Reads the page's second byte, under the handler's register.
        Read,
        /// Writes the register.
        Wrpkru,
        /// `mprotect(page, 1 page, PROT_READ | PROT_WRITE)`.
        Mprotect,
        /// `pkey_alloc(0, 0)`.
        PkeyAlloc,
        /// Sends itself `SIGUSR1`, a signal inside of a signal.
        Raise,
    }

    /// Another alternate signal stack, for a thread or a child.
    Altstack {
        /// None: `SS_DISABLE`.
        Off,
        /// Readable and writable pages with a key.
        Writable,
        /// Pages that can only be read: no frame can be written.
        ReadOnly,
        /// No pages.
        Unmapped,
    }

    /// How a child ends itself.
    Death {
        /// `exit_group(7)`.
        Exit,
        /// `kill(getpid(), SIGKILL)`.
        Kill,
        /// `kill(getpid(), SIGTERM)`, which nobody handles.
        Term,
    }

    /// What `futex(2)` is asked for, by its address alone (`FUTEX_PRIVATE_FLAG`) or by what lies there. None waits.
    Futex {
        /// `FUTEX_WAIT` with a time limit of nothing.
        Wait,
        /// The same, by the address alone.
        WaitPrivate,
        /// `FUTEX_WAKE`.
        Wake,
        /// The same, by the address alone.
        WakePrivate,
        /// `FUTEX_WAKE_OP`, which adds 1 to the word.
        Add,
        /// The same, by the address alone.
        AddPrivate,
    }

    /// How somebody accesses memory who is not stopped by keys.
    Remote {
        /// `process_vm_readv(2)` on this process.
        ProcessVmRead,
        /// `process_vm_writev(2)` on this process.
        ProcessVmWrite,
        /// A read of `/proc/self/mem`.
        ProcMemRead,
        /// A write to `/proc/self/mem`.
        ProcMemWrite,
    }
}

impl Place {
    /// Whether it is a thread of the batch's own process.
    #[must_use]
    pub const fn is_thread(self) -> bool {
        matches!(self, Self::ThreadA | Self::ThreadB)
    }

    /// Whether it is another process.
    #[must_use]
    pub const fn is_child(self) -> bool {
        matches!(self, Self::Child | Self::Exec)
    }
}

impl Offset {
    /// In bytes from the page's start.
    #[must_use]
    pub const fn in_bytes(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Ninth => 8,
            Self::Word => 0x40,
            Self::Middle => 0x7F8,
            Self::Eighth => 0xFF8,
            Self::Last => 0xFFF,
        }
    }
}

impl Length {
    /// In bytes.
    #[must_use]
    pub const fn in_bytes(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }
}
