//! One step of a random program.
//!
//! An [`Op`] says what is done and with which arguments, in terms of a small window of pages (see [`crate::arena`]), so
//! that programs meet their own traces all the time. It says nothing about what comes of it: two sides run the same
//! steps and are compared. Steps are flat. A step that starts a thread or a child puts it at a [`Place`]; [`Op::Switch`]
//! makes the following steps run there. So any steps can be left out of a program, and the rest is a program still:
//! what a step cannot do where it stands is noted as skipped, on both sides.
//!
//! An operation fits into one word ([`Op::encode`]), which is how it is told to a peer.

pub use crate::arguments::{
    Advice, Altstack, BareAct, Death, Edit, Fixing, Futex, HandledAct, Inside, Length, Mapping,
    Move, Offset, Place, Remote, Way,
};
use crate::defect::Defect;
use crate::field::{Field, Packer, Unpacker, choices};

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
    /// `mremap(2)`.
    Mremap {
        /// The first page.
        page: u8,
        /// How many.
        nr: u8,
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
    /// `futex(2)` on a word in a page.
    Futex {
        /// What for.
        how: Futex,
        /// The page.
        page: u8,
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
            nr: 1,
            to: 9,
            how,
        };
        assert_eq!(
            op.code(),
            "Op::Mremap { page: 3, nr: 1, to: 9, how: Move::Leaving }"
        );
        assert_eq!(Op::EndProgram.code(), "Op::EndProgram");
    }

    #[test]
    fn what_is_no_step_is_refused() {
        assert_eq!(Op::decode(u64::MAX), None);
        assert_eq!(Op::decode(Op::Rdpkru.encode() | 1 << 62), None);
    }
}
