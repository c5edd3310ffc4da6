//! Files that somebody has changed: whatever is done to a real program, it is refused or it can be loaded, and nothing
//! panics.
//!
//! What "can be loaded" means is said here a second time, in the simplest words, and checked of every file that is taken.

use std::path::PathBuf;
use std::process::Command;
use std::vec::Vec;

use super::sample::Sample;
use super::{BadElf, Elf, Name};

/// How many changed files each test tries.
const ROUNDS: u64 = 200_000;

/// xorshift64*: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// Compiles the project's own C program.
fn compiled(name: &str, kind: &str) -> Vec<u8> {
    let test = std::env::current_exe().unwrap();
    let output = test.with_file_name(std::format!("{name}-{}", std::process::id()));
    let source: PathBuf = [env!("CARGO_MANIFEST_DIR"), "programs", "keys.c"]
        .iter()
        .collect();
    let status = Command::new("cc")
        .args([kind, "-O2", "-pthread", "-o"])
        .args([&output, &source])
        .status()
        .expect("a C compiler, which Rust links with");
    assert!(status.success());
    let bytes = std::fs::read(&output).unwrap();
    std::fs::remove_file(output).unwrap();
    bytes
}

/// What a loader relies on.
fn check(bytes: &[u8]) -> bool {
    let Ok(elf) = Elf::parse(bytes) else {
        return false;
    };
    let segments: Vec<_> = elf.segments().collect();
    assert!(!segments.is_empty());
    for (at, segment) in segments.iter().enumerate() {
        let pages = &segment.pages;
        assert!(pages.start.is_multiple_of(4096) && pages.end.is_multiple_of(4096));
        assert!(0x1_0000 <= pages.start && pages.start < pages.end);
        assert!(pages.end <= 0x7FFF_FFFF_F000 && pages.end <= elf.end());
        assert!(pages.contains(&segment.data_at));
        assert!(segment.data.len() as u64 <= pages.end - segment.data_at);
        for other in &segments[..at] {
            let is_apart = (other.pages.clone()).all_apart(pages);
            assert!(is_apart, "{pages:x?} {:x?}", other.pages);
        }
    }
    let starts = |pages: &core::ops::Range<u64>| pages.contains(&elf.entry());
    assert!(segments.iter().any(|segment| starts(&segment.pages)));
    true
}

trait Apart {
    fn all_apart(&self, other: &Self) -> bool;
}

impl Apart for core::ops::Range<u64> {
    fn all_apart(&self, other: &Self) -> bool {
        !other.contains(&self.start) && !self.contains(&other.start)
    }
}

/// Values at which checks like to be wrong.
const EDGES: [u64; 10] = [
    0,
    1,
    4095,
    4096,
    0x7FFF_FFFF_F000,
    1 << 47,
    1 << 63,
    u64::MAX,
    u64::MAX - 4095,
    0xFFFF_8000_0000_0000,
];

/// Changes a file a little: bytes, words that are special, words that are like others, its length.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    // What is looked at stands at the beginning.
    let interesting = bytes.len().min(64 + 56 * 12);
    for _ in 0..=random.below(3) {
        let at = random.below(interesting);
        let word_at = at / 8 * 8;
        let word = match random.below(5) {
            0 => {
                bytes[at] ^= 1 << random.below(8);
                continue;
            }
            1 => EDGES[random.below(EDGES.len())],
            2 => bytes.len() as u64,
            3 => {
                let from = random.below(interesting) / 8 * 8;
                read(bytes, from)
            }
            _ => read(bytes, word_at)
                .wrapping_add(random.next() % 8192)
                .wrapping_sub(4096),
        };
        if let Some(place) = bytes.get_mut(word_at..word_at + 8) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    if random.below(8) == 0 {
        let len = random.below(bytes.len() + 1);
        bytes.truncate(len);
    }
}

fn read(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// Gives how many of the changed files were taken.
fn change_many(original: &[u8], seed: u64) -> u64 {
    let mut random = Random(seed);
    // Changes are made to a copy of the beginning, and what lies behind is as good as any.
    let file = &original[..original.len().min(0x1000)];
    let rest = original.len();
    let mut taken = 0;
    let mut whole = original.to_vec();
    for _ in 0..ROUNDS {
        let mut start = file.to_vec();
        change(&mut start, &mut random);
        let is_cut = start.len() < file.len();
        whole[..start.len()].copy_from_slice(&start);
        let len = if is_cut { start.len() } else { rest };
        taken += u64::from(check(&whole[..len]));
        whole[..file.len()].copy_from_slice(file);
    }
    taken
}

#[test]
fn a_real_program_is_taken_and_its_changed_copies_break_nothing() {
    for (name, kind) in [("fixed", "-static"), ("pie", "-static-pie")] {
        let bytes = compiled(name, kind);
        assert!(check(&bytes));
        let elf = Elf::parse(&bytes).unwrap();
        assert_eq!(elf.is_position_independent(), name == "pie");
        assert!(elf.program_headers_at() != 0 && elf.writable_code().is_none());
        let taken = change_many(&bytes, 0x9E37_79B9_7F4A_7C15);
        // Some were refused and some were not: nothing was tried in vain.
        assert!(taken > ROUNDS / 20 && taken < ROUNDS * 19 / 20, "{taken}");
    }
}

#[test]
fn a_small_program_is_taken_and_its_changed_copies_break_nothing() {
    let taken = change_many(&Sample::default().bytes(), 0xD1B5_4A32_D192_ED03);
    assert!(taken > ROUNDS / 20 && taken < ROUNDS * 19 / 20, "{taken}");
}

#[test]
fn a_dynamic_program_is_refused_by_its_loaders_name() {
    let bytes = compiled("dynamic", "-pie");
    let loader = Name(b"/lib64/ld-linux-x86-64.so.2");
    let expected = BadElf::Dynamic {
        interpreter: loader,
    };
    assert_eq!(Elf::parse(&bytes).unwrap_err(), expected);
}

#[test]
fn a_real_program_that_is_cut_anywhere_is_refused() {
    let bytes = compiled("cut", "-static");
    let last = Elf::parse(&bytes)
        .unwrap()
        .segments()
        .map(|segment| segment.data.as_ptr_range().end)
        .max();
    let end = last.unwrap().addr() - bytes.as_ptr().addr();
    let mut random = Random(3);
    for _ in 0..2000 {
        let len = random.below(end);
        assert!(Elf::parse(&bytes[..len]).is_err(), "{len}");
    }
    assert!(Elf::parse(&bytes[..end]).is_ok());
}
