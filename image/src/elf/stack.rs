//! What lies on a program's stack when it starts.
//!
//! From the stack pointer up: the number of arguments; pointers to them, and a null; pointers to the environment, and a
//! null; the auxiliary vector; and then what all these point to. The stack pointer is a multiple of 16. The order of the
//! strings is Linux's, so that a program that looks around itself (as `setproctitle` does) finds what it is used to: 16
//! random bytes, the platform, the arguments, the environment, the path, and 8 zeros at the very end.
//!
//! Source: System V ABI for x86-64, 3.4.1; Linux `fs/binfmt_elf.c` (`create_elf_tables`).

use alloc::vec::Vec;
use core::fmt;

use pkeys_kernel::memory::layout::PAGE_SIZE;

use super::auxv::Aux;
use super::file::Elf;
use super::header::PROGRAM_HEADER_LEN;

/// `AT_PLATFORM`.
const PLATFORM: &[u8] = b"x86_64\0";
/// `AT_CLKTCK`: `USER_HZ`.
const CLOCK_TICKS: u64 = 100;
/// How many entries the auxiliary vector has, with its end.
const NR_AUX: usize = 20;
const WORD: usize = 8;

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user, real and effective.
    pub uid: u32,
    /// The group, real and effective.
    pub gid: u32,
}

/// What a program is told when it starts. `S` is a string without its zero; one that has a zero inside ends there, as far
/// as the program can see.
#[derive(Debug, Clone, Copy)]
pub struct InitialStack<'a, S> {
    /// The address behind the stack's last byte, a multiple of 16.
    pub top: u64,
    /// How many bytes may be used.
    pub room: u64,
    /// The path that was executed.
    pub path: &'a [u8],
    /// The arguments, the program's name first.
    pub argv: &'a [S],
    /// The environment.
    pub envp: &'a [S],
    /// Whose it is.
    pub credentials: Credentials,
    /// Bytes that nobody else knows: the C library makes its stack protector of them.
    pub random: [u8; 16],
    /// EDX of CPUID leaf 1.
    pub hwcap: u64,
    /// [`Aux::Hwcap2`].
    pub hwcap2: u64,
    /// How much stack a signal takes: `XstateConfig::frame_len` and the rest of the frame, with what alignment may cost.
    pub min_signal_stack: u64,
}

/// A stack that a program can start on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// What RSP has to be: a multiple of 16.
    pub pointer: u64,
    /// What lies there, up to the top.
    pub bytes: Vec<u8>,
}

/// The arguments and the environment take more than there is room for: `E2BIG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBig {
    /// The bytes that they take.
    pub needed: u64,
}

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed } = self;
        write!(f, "arguments and environment take {needed} bytes")
    }
}

impl core::error::Error for TooBig {}

/// The strings, which lie at the upper end, and where each begins.
struct Strings {
    bytes: Vec<u8>,
    /// The address of the first byte.
    start: u64,
}

impl Strings {
    /// Adds bytes, and gives their address.
    fn add(&mut self, bytes: &[u8]) -> u64 {
        let at = self.start + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Adds a string with its zero, and gives its address.
    fn add_string(&mut self, string: &[u8]) -> u64 {
        let at = self.add(string);
        self.bytes.push(0);
        at
    }
}

impl<S: AsRef<[u8]>> InitialStack<'_, S> {
    /// The stack for a program.
    ///
    /// # Errors
    ///
    /// [`TooBig`].
    pub fn build(&self, elf: &Elf<'_>) -> Result<Stack, TooBig> {
        let strings_len = self.strings_len();
        let nr_words = 1 + self.argv.len() + 1 + self.envp.len() + 1 + 2 * NR_AUX;
        let len = (nr_words * WORD + strings_len).next_multiple_of(16);
        let needed = len as u64;
        if needed > self.room || needed > self.top {
            return Err(TooBig { needed });
        }
        let mut strings = Strings {
            bytes: Vec::with_capacity(strings_len),
            start: self.top - strings_len as u64,
        };
        let random = strings.add(&self.random);
        let platform = strings.add(PLATFORM);
        let mut words = Vec::with_capacity(nr_words);
        words.push(self.argv.len() as u64);
        for list in [self.argv, self.envp] {
            words.extend(list.iter().map(|one| strings.add_string(one.as_ref())));
            words.push(0);
        }
        let path = strings.add_string(self.path);
        strings.add(&[0; WORD]);
        for (kind, value) in self.aux(elf, [random, platform, path]) {
            words.extend([kind as u64, value]);
        }
        let pointer = self.top - needed;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(len - strings_len, 0);
        bytes.append(&mut strings.bytes);
        Ok(Stack { pointer, bytes })
    }

    fn strings_len(&self) -> usize {
        let lists = self.argv.iter().chain(self.envp);
        let listed: usize = lists.map(|one| one.as_ref().len() + 1).sum();
        self.random.len() + PLATFORM.len() + listed + self.path.len() + 1 + WORD
    }

    fn aux(&self, elf: &Elf<'_>, [random, platform, path]: [u64; 3]) -> [(Aux, u64); NR_AUX] {
        let Credentials { uid, gid } = self.credentials;
        [
            (Aux::MinSignalStack, self.min_signal_stack),
            (Aux::Hwcap, self.hwcap),
            (Aux::PageSize, PAGE_SIZE),
            (Aux::ClockTicks, CLOCK_TICKS),
            (Aux::ProgramHeaders, elf.program_headers_at()),
            (Aux::ProgramHeaderLen, PROGRAM_HEADER_LEN as u64),
            (Aux::NrProgramHeaders, elf.nr_program_headers() as u64),
            (Aux::Base, 0),
            (Aux::Flags, 0),
            (Aux::Entry, elf.entry()),
            (Aux::Uid, uid.into()),
            (Aux::Euid, uid.into()),
            (Aux::Gid, gid.into()),
            (Aux::Egid, gid.into()),
            // Nobody gets rights by executing a file here.
            (Aux::Secure, 0),
            (Aux::Random, random),
            (Aux::Hwcap2, self.hwcap2),
            (Aux::ExecFn, path),
            (Aux::Platform, platform),
            (Aux::Null, 0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::sample::Sample;

    const TOP: u64 = 0x7FFF_FFFF_E000;

    fn plain<'a>(argv: &'a [&'a [u8]], envp: &'a [&'a [u8]]) -> InitialStack<'a, &'a [u8]> {
        InitialStack {
            top: TOP,
            room: 1 << 20,
            path: b"/prog",
            argv,
            envp,
            credentials: Credentials { uid: 1, gid: 2 },
            random: *b"0123456789abcdef",
            hwcap: 0xBFEB_FBFF,
            hwcap2: 2,
            min_signal_stack: 3632,
        }
    }

    /// A program that reads its stack.
    struct Reader<'a>(&'a Stack);

    impl Reader<'_> {
        fn word(&self, at: u64) -> u64 {
            let at = usize::try_from(at - self.0.pointer).unwrap();
            u64::from_le_bytes(*self.0.bytes[at..].first_chunk().unwrap())
        }

        fn string(&self, at: u64) -> &[u8] {
            let at = usize::try_from(at - self.0.pointer).unwrap();
            let rest = &self.0.bytes[at..];
            &rest[..rest.iter().position(|byte| *byte == 0).unwrap()]
        }

        /// A list of strings, and the address behind its null.
        fn strings(&self, mut at: u64) -> (Vec<&[u8]>, u64) {
            let mut strings = Vec::new();
            while self.word(at) != 0 {
                strings.push(self.string(self.word(at)));
                at += 8;
            }
            (strings, at + 8)
        }

        fn aux(&self, mut at: u64) -> Vec<(u64, u64)> {
            let mut entries = Vec::new();
            while self.word(at) != 0 {
                entries.push((self.word(at), self.word(at + 8)));
                at += 16;
            }
            entries
        }
    }

    #[test]
    fn a_program_finds_everything_from_its_stack_pointer() {
        let file = Sample::default().bytes();
        let elf = Elf::parse(&file).unwrap();
        let lists: [&[&[u8]]; 4] = [&[], &[b"prog"], &[b"prog", b""], &[b"a", b"bc", b"def"]];
        for (argv, envp) in lists.iter().flat_map(|argv| lists.map(|envp| (argv, envp))) {
            let stack = plain(argv, envp).build(&elf).unwrap();
            assert!(stack.pointer.is_multiple_of(16));
            assert_eq!(stack.pointer + stack.bytes.len() as u64, TOP);
            let reader = Reader(&stack);
            assert_eq!(reader.word(stack.pointer), argv.len() as u64);
            let (found, next) = reader.strings(stack.pointer + 8);
            assert_eq!(found, *argv);
            let (found, next) = reader.strings(next);
            assert_eq!(found, envp);
            let aux = reader.aux(next);
            let value = |kind| aux.iter().find(|entry| entry.0 == kind).unwrap().1;
            // Numbers of getauxval(3).
            for (kind, expected) in [
                (3, elf.program_headers_at()),
                (4, 56),
                (5, 2),
                (6, 4096),
                (7, 0),
                (9, elf.entry()),
                (11, 1),
                (12, 1),
                (13, 2),
                (14, 2),
                (16, 0xBFEB_FBFF),
                (17, 100),
                (23, 0),
                (26, 2),
                (51, 3632),
            ] {
                assert_eq!(value(kind), expected, "entry {kind}");
            }
            assert_eq!(reader.string(value(15)), b"x86_64");
            assert_eq!(reader.string(value(31)), b"/prog");
            assert!(reader.string(value(25)).starts_with(b"0123456789abcdef"));
        }
    }

    #[test]
    fn there_has_to_be_room() {
        let file = Sample::default().bytes();
        let elf = Elf::parse(&file).unwrap();
        let argv: &[&[u8]] = &[b"prog", &[b'x'; 1000]];
        let needed = plain(argv, &[]).build(&elf).unwrap().bytes.len() as u64;
        let with_room = |room| InitialStack {
            room,
            ..plain(argv, &[])
        };
        assert!(with_room(needed).build(&elf).is_ok());
        let bad = with_room(needed - 1).build(&elf);
        assert_eq!(bad, Err(TooBig { needed }));
        let low = InitialStack {
            top: 0,
            ..plain(argv, &[])
        };
        assert_eq!(low.build(&elf), Err(TooBig { needed }));
    }
}
