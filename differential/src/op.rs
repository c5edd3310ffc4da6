//! One step of a random program.
//!
//! An [`Op`] says what is done and with which arguments, in terms of a small window of pages (see [`crate::arena`]), so
//! that programs meet their own traces all the time. It says nothing about what comes of it: two sides run the same
//! steps and are compared. Steps are flat. A step that starts a thread or a child puts it at a [`Place`]; [`Op::Switch`]
//! makes the following steps run there. So any steps can be left out of a program, and the rest is a program still:
//! what a step cannot do where it stands is noted as skipped, on both sides.
//!
//! An operation fits into one word ([`Op::encode`]), which is how it is told to a peer.

use crate::defect::Defect;
use crate::field::{Field, Packer, Unpacker, choices};

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
    }

    /// At which address.
    Fixing {
        /// `MAP_FIXED`.
        Fixed,
        /// `MAP_FIXED_NOREPLACE`.
        NoReplace,
    }

    /// How a page is moved or resized by `mremap(2)`.
    Move {
        /// `MREMAP_MAYMOVE | MREMAP_FIXED`, one page.
        One,
        /// The same, and two pages afterwards.
        Growing,
        /// `MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP`.
        Leaving,
        /// No flags: grows to two pages where it stands.
        InPlace,
    }

    /// The advice of `madvise(2)`.
    Advice {
        /// `MADV_NORMAL`.
        Normal,
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

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })?),* $(,)?) => {
        choices! {
            /// Which operation, without its arguments.
            Kind { $($(#[$doc])* $name),* }
        }

        /// A step.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Op {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: $type),* })?,)*
        }

        impl Op {
            /// Which operation it is.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$name $({ $($field: _),* })? => Kind::$name,)*
                }
            }

            /// The step as one word, of which the highest bit is not used.
            #[must_use]
            pub fn encode(self) -> u64 {
                let mut packer = Packer::default();
                packer.put(self.kind());
                match self {
                    $(Self::$name $({ $($field),* })? => { $($(packer.put($field);)*)? })*
                }
                packer.word()
            }

            /// The step as it is written in a program.
            #[must_use]
            pub fn code(self) -> String {
                match self {
                    $(Self::$name $({ $($field),* })? => {
                        let fields: &[String] = &[
                            $($(format!("{}: {}", stringify!($field), Field::code(&$field)),)*)?
                        ];
                        written(stringify!($name), fields)
                    })*
                }
            }

            /// The step of a word.
            #[must_use]
            pub fn decode(word: u64) -> Option<Self> {
                let mut unpacker = Unpacker::new(word);
                let op = match unpacker.take()? {
                    $(Kind::$name => Self::$name $({ $($field: unpacker.take()?),* })?,)*
                };
                unpacker.is_empty().then_some(op)
            }
        }
    };
}

ops! {
    /// `mmap(2)` of pages in the window.
    Mmap {
        /// The first page.
        page: u8,
        /// How many.
        nr: u8,
        /// `PROT_*`.
        prot: u8,
        /// What.
        what: Mapping,
        /// Where.
        fixing: Fixing,
    },
    /// `munmap(2)`.
    Munmap {
        /// The first page.
        page: u8,
        /// How many.
        nr: u8,
    },
    /// `mprotect(2)`.
    Mprotect {
        /// The first page.
        page: u8,
        /// How many.
        nr: u8,
        /// `PROT_*`.
        prot: u8,
    },
    /// `pkey_mprotect(2)`.
    PkeyMprotect {
        /// The first page.
        page: u8,
        /// How many.
        nr: u8,
        /// `PROT_*`.
        prot: u8,
        /// The key, any number.
        key: i8,
    },
    /// `pkey_alloc(0, rights)`.
    PkeyAlloc {
        /// `PKEY_DISABLE_*`.
        rights: u8,
    },
    /// `pkey_alloc(0, 0)` until there are no keys left, and as many again are freed, the highest first.
    PkeyExhaust {
        /// How many are freed.
        freed: u8,
    },
    /// `pkey_free(2)`.
    PkeyFree {
        /// The key, any number.
        key: i8,
    },
    /// `mremap(2)` of one page.
    Mremap {
        /// The page.
        page: u8,
        /// Where to.
        to: u8,
        /// How.
        how: Move,
    },
    /// `madvise(2)`.
    Madvise {
        /// The first page.
        page: u8,
        /// How many.
        nr: u8,
        /// The advice.
        advice: Advice,
    },
    /// `mseal(2)`, in a child only: nothing undoes it.
    Mseal {
        /// The first page.
        page: u8,
        /// How many.
        nr: u8,
    },
    /// Reads a byte.
    Read {
        /// The page.
        page: u8,
        /// The byte.
        offset: Offset,
    },
    /// Writes a byte.
    Write {
        /// The page.
        page: u8,
        /// The byte.
        offset: Offset,
        /// The value.
        value: u8,
    },
    /// Calls the RET in a page; plants it first where that has not been done, which is the whole step if it fails.
    Call {
        /// The page.
        page: u8,
    },
    /// WRPKRU, key 0 open.
    Wrpkru {
        /// The register.
        pkru: u32,
    },
    /// RDPKRU, the two bits of one key, WRPKRU.
    SetRights {
        /// The key, from 1.
        key: u8,
        /// AD and WD.
        rights: u8,
    },
    /// RDPKRU.
    Rdpkru,
    /// XRSTOR of PKRU's initial state.
    Xrstor,
    /// Something under a register, and perhaps on a stack, of its own.
    Bare {
        /// What.
        act: BareAct,
        /// The page.
        page: u8,
        /// The register, key 0 closed perhaps.
        pkru: u32,
        /// The page with the stack; none above the window.
        stack: u8,
    },
    /// `SIGUSR1` to itself.
    Raise,
    /// Something with a handler of the program's own.
    Handled {
        /// What.
        act: HandledAct,
        /// The page.
        page: u8,
        /// What the handler does to PKRU in the frame.
        edit: Edit,
        /// The value for it, and for a WRPKRU in the handler: key 0 is opened.
        pkru: u32,
        /// How it goes on.
        way: Way,
        /// What else the handler does.
        inside: Inside,
    },
    /// `sigaltstack(2)`, in threads and children only.
    SetAltstack {
        /// What for a stack.
        stack: Altstack,
        /// Its pages' key.
        key: i8,
    },
    /// `write(2)` from the window to a pipe.
    PipeWrite {
        /// The page.
        page: u8,
        /// The first byte.
        offset: Offset,
        /// How many.
        length: Length,
    },
    /// `read(2)` from a pipe into the window.
    PipeRead {
        /// The page.
        page: u8,
        /// The first byte.
        offset: Offset,
        /// How many.
        length: Length,
        /// What is in the pipe.
        value: u8,
    },
    /// `vmsplice(2)` of eight bytes into a pipe.
    Vmsplice {
        /// The page.
        page: u8,
    },
    /// An access that keys do not stop.
    Remotely {
        /// How.
        how: Remote,
        /// The page.
        page: u8,
        /// What is written.
        value: u8,
    },
    /// The mapping of a page, as `/proc/self/smaps` shows it.
    Smaps {
        /// The page.
        page: u8,
    },
    /// A system call with a bad argument.
    Bad {
        /// Which.
        defect: Defect,
        /// The page it is about.
        page: u8,
    },
    /// Starts a thread or a child, unless the place is taken.
    Start {
        /// Where.
        place: Place,
    },
    /// The following steps run there, if there is somebody.
    Switch {
        /// Where.
        place: Place,
    },
    /// Ends a thread or a child.
    End {
        /// Where.
        place: Place,
    },
    /// A child ends itself.
    Die {
        /// How.
        how: Death,
    },
    /// The end of a program: peers are ended, and the window, keys and register are as before it, but for an
    /// execute-only key, which a process keeps. What is there to be undone is looked at.
    EndProgram,
}

fn written(name: &str, fields: &[String]) -> String {
    if fields.is_empty() {
        format!("Op::{name}")
    } else {
        format!("Op::{name} {{ {} }}", fields.join(", "))
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

#[cfg(test)]
mod tests {
    use super::{BareAct, Edit, HandledAct, Inside, Op, Way};
    use crate::generate::{Rules, batch};

    #[test]
    fn the_largest_steps_leave_the_highest_bit_free() {
        let bare = Op::Bare {
            act: BareAct::Mprotect,
            page: 0xFF,
            pkru: u32::MAX,
            stack: 0xFF,
        };
        let handled = Op::Handled {
            act: HandledAct::Raise,
            page: 0xFF,
            edit: Edit::Clear,
            pkru: u32::MAX,
            way: Way::Retry,
            inside: Inside::Raise,
        };
        for op in [bare, handled] {
            assert_eq!(op.encode() >> 63, 0);
            assert_eq!(Op::decode(op.encode()), Some(op));
        }
    }

    #[test]
    fn generated_steps_survive_their_encoding() {
        for number in 0..50 {
            for op in batch(1, number, Rules::ALL) {
                assert_eq!(op.encode() >> 63, 0, "{op:?}");
                assert_eq!(Op::decode(op.encode()), Some(op));
            }
        }
    }

    #[test]
    fn a_step_is_written_as_in_a_program() {
        let how = super::Move::Leaving;
        let op = Op::Mremap {
            page: 3,
            to: 9,
            how,
        };
        assert_eq!(
            op.code(),
            "Op::Mremap { page: 3, to: 9, how: Move::Leaving }"
        );
        assert_eq!(Op::EndProgram.code(), "Op::EndProgram");
    }

    #[test]
    fn what_is_no_step_is_refused() {
        assert_eq!(Op::decode(u64::MAX), None);
        assert_eq!(Op::decode(Op::Rdpkru.encode() | 1 << 62), None);
    }
}
