//! Physical memory: what it holds, how much of it there is, and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: what goes wrong ends it"
)]

mod common;

use common::{PLENTY, SIZES};
use pkeys_core::LeafSize;
use pkeys_kernel::hardware::{PhysAddr, PhysMemory};
use pkeys_machine::Memory;

const SMALL: LeafSize = LeafSize::Size4K;
const LARGE: LeafSize = LeafSize::Size2M;
const HUGE: LeafSize = LeafSize::Size1G;

fn plus(at: PhysAddr, offset: u64) -> PhysAddr {
    PhysAddr(at.0 + offset)
}

fn bytes_at<const N: usize>(memory: &Memory, at: PhysAddr) -> [u8; N] {
    let mut bytes = [0xEE; N];
    memory.read(at, &mut bytes);
    bytes
}

#[test]
fn blocks_are_aligned_apart_and_zero() {
    let memory = Memory::new(PLENTY);
    let mut blocks = Vec::new();
    for _ in 0..5 {
        for size in SIZES {
            let at = memory.allocate(size).unwrap();
            assert_ne!(at.0, 0);
            assert!(at.0.is_multiple_of(size.bytes()));
            assert!(at.0 + size.bytes() <= 1 << pkeys_machine::MAXPHYADDR);
            for offset in [0, size.bytes() / 2, size.bytes() - 8] {
                assert_eq!(memory.read_entry(plus(at, offset)), 0);
            }
            assert_eq!(bytes_at::<4096>(&memory, at), [0; 4096]);
            blocks.push((at.0, at.0 + size.bytes()));
        }
    }
    blocks.sort_unstable();
    assert!(blocks.windows(2).all(|pair| pair[0].1 <= pair[1].0));
}

#[test]
fn a_block_that_comes_back_is_zero_again() {
    let memory = Memory::new(PLENTY);
    for size in SIZES {
        let at = memory.allocate(size).unwrap();
        let end = plus(at, size.bytes() - 1);
        memory.write(at, &[1]);
        memory.write(end, &[2]);
        memory.free(at, size);
        assert_eq!(
            memory.allocate(size),
            Some(at),
            "the last one freed comes first"
        );
        assert_eq!(bytes_at::<1>(&memory, at), [0]);
        assert_eq!(bytes_at::<1>(&memory, end), [0]);
    }
}

#[test]
fn what_is_written_is_read_across_pieces() {
    let memory = Memory::new(PLENTY);
    for size in [LARGE, HUGE] {
        let at = memory.allocate(size).unwrap();
        let bytes: [u8; 9000] = core::array::from_fn(|n| (n % 255) as u8 + 1);
        for start in [0, 4000, size.bytes() - 9000] {
            memory.write(plus(at, start), &bytes);
            assert_eq!(bytes_at::<9000>(&memory, plus(at, start)), bytes);
        }
        // One more on each side of the last is as it was.
        let [before] = bytes_at(&memory, plus(at, size.bytes() - 9001));
        assert_eq!(before, 0);
        assert_eq!(
            bytes_at::<2>(&memory, plus(at, 3999)),
            [bytes[3999], bytes[0]]
        );
    }
}

#[test]
fn entries_are_eight_bytes_from_the_lowest() {
    let memory = Memory::new(PLENTY);
    let at = memory.allocate(SMALL).unwrap();
    for number in 0..512 {
        memory.write_entry(plus(at, 8 * number), number << 40 | !number & 0xFFFF);
    }
    for number in 0..512 {
        let entry = number << 40 | !number & 0xFFFF;
        assert_eq!(memory.read_entry(plus(at, 8 * number)), entry);
        assert_eq!(bytes_at(&memory, plus(at, 8 * number)), entry.to_le_bytes());
    }
}

#[test]
fn copies_are_whole_and_independent() {
    let memory = Memory::new(PLENTY);
    for size in SIZES {
        let [from, to] = [0; 2].map(|_| memory.allocate(size).unwrap());
        let last = size.bytes() - 1;
        memory.write(from, &[1]);
        memory.write(plus(from, last), &[2]);
        // Something that the copy has to make zero.
        memory.write(plus(to, size.bytes() / 2), &[3]);
        memory.copy(from, to, size);
        memory.write(from, &[4]);
        assert_eq!(bytes_at::<1>(&memory, to), [1]);
        assert_eq!(bytes_at::<1>(&memory, plus(to, last)), [2]);
        assert_eq!(bytes_at::<1>(&memory, plus(to, size.bytes() / 2)), [0]);
        assert_eq!(bytes_at::<1>(&memory, from), [4]);
        memory.copy(from, from, size);
        assert_eq!(bytes_at::<1>(&memory, from), [4]);
    }
}

/// A large block costs what was written to, and nothing of it is left when it is freed.
#[test]
fn large_blocks_are_sparse() {
    let memory = Memory::new(PLENTY);
    for size in [LARGE, HUGE] {
        let blocks: Vec<_> = (0..20).map(|_| memory.allocate(size).unwrap()).collect();
        for &at in &blocks {
            assert_eq!(
                bytes_at::<100>(&memory, plus(at, size.bytes() / 2)),
                [0; 100]
            );
        }
        assert_eq!(memory.nr_touched_pieces(), 0, "reading touches nothing");
        memory.write(plus(blocks[0], 4095), &[1, 2]);
        assert_eq!(memory.nr_touched_pieces(), 2);
        memory.copy(blocks[0], blocks[1], size);
        assert_eq!(memory.nr_touched_pieces(), 4);
        memory.copy(blocks[2], blocks[1], size);
        assert_eq!(memory.nr_touched_pieces(), 2);
        for at in blocks {
            memory.free(at, size);
        }
        assert_eq!(memory.nr_touched_pieces(), 0);
    }
}

#[test]
fn the_limit_is_in_bytes_of_blocks() {
    let memory = Memory::new((2 << 20) + 8191);
    let large = memory.allocate(LARGE).unwrap();
    let small = memory.allocate(SMALL).unwrap();
    assert_eq!(memory.allocated_bytes(), (2 << 20) + 4096);
    for size in SIZES {
        assert_eq!(memory.allocate(size), None);
    }
    memory.free(small, SMALL);
    assert_eq!(memory.allocate(LARGE), None);
    assert!(memory.allocate(SMALL).is_some());
    memory.free(large, LARGE);
    for _ in 0..512 {
        memory.allocate(SMALL).unwrap();
    }
    assert_eq!(memory.allocate(SMALL), None);
    // The limit can be moved, below what is allocated too.
    memory.set_limit_bytes((2 << 20) + 8192);
    assert!(memory.allocate(SMALL).is_some());
    memory.set_limit_bytes(0);
    assert_eq!(memory.allocate(SMALL), None);
    memory.set_limit_bytes(u64::MAX);
    assert!(memory.allocate(HUGE).is_some());
}

/// What a leak test compares.
#[test]
fn allocated_blocks_are_counted_by_size() {
    let memory = Memory::new(PLENTY);
    let counts = || SIZES.map(|size| memory.nr_allocated(size));
    let mut blocks = Vec::new();
    for (nr, size) in [(5, SMALL), (3, LARGE), (2, HUGE)] {
        blocks.extend((0..nr).map(|_| (memory.allocate(size).unwrap(), size)));
    }
    assert_eq!(counts(), [5, 3, 2]);
    let bytes: u64 = blocks.iter().map(|(_, size)| size.bytes()).sum();
    assert_eq!(memory.allocated_bytes(), bytes);
    for (at, size) in blocks {
        memory.free(at, size);
    }
    assert_eq!(counts(), [0, 0, 0]);
    assert_eq!(memory.allocated_bytes(), 0);
    assert!(memory.allocate(SMALL).is_some());
    assert_eq!(counts(), [1, 0, 0]);
}

#[test]
fn a_clone_is_the_same_memory() {
    let memory = Memory::new(4096);
    let other = memory.clone();
    let at = other.allocate(SMALL).unwrap();
    other.write(at, &[7]);
    assert_eq!(bytes_at::<1>(&memory, at), [7]);
    assert_eq!(memory.allocate(SMALL), None);
    memory.free(at, SMALL);
    assert_eq!(other.allocated_bytes(), 0);
}

/// What each way of doing it wrong says.
fn refusal(wrong: impl Fn(&Memory, PhysAddr)) -> String {
    let memory = Memory::new(PLENTY);
    // A neighbour on each side, so that what leaves the block does not leave memory.
    let [_, at, _] = [0; 3].map(|_| memory.allocate(LARGE).unwrap());
    let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| wrong(&memory, at)));
    let message = *caught
        .expect_err("was let through")
        .downcast::<String>()
        .unwrap();
    message.replace(&format!("{:#x}", at.0), "AT")
}

#[test]
fn defects_panic_and_say_what_was_wrong() {
    let freed = |then: fn(&Memory, PhysAddr)| {
        refusal(move |memory, at| {
            memory.free(at, LARGE);
            then(memory, at);
        })
    };
    let was_freed = "at AT, in a 2 MiB block that was freed";
    for (then, doing) in [
        (
            (|memory, at| memory.free(at, LARGE)) as fn(&Memory, PhysAddr),
            "free",
        ),
        (|memory, at| memory.read(at, &mut [0]), "read"),
        (|memory, at| memory.write(at, &[0]), "write"),
        (|memory, at| _ = memory.read_entry(at), "read of an entry"),
        (|memory, at| memory.write_entry(at, 0), "write of an entry"),
        (
            |memory, at| memory.copy(at, plus(at, 2 << 20), LARGE),
            "copy of a block",
        ),
        (
            |memory, at| memory.copy(plus(at, 2 << 20), at, LARGE),
            "copy of a block",
        ),
    ] {
        assert_eq!(freed(then), format!("physical memory: {doing} {was_freed}"));
    }
    assert_eq!(
        refusal(|memory, at| memory.free(at, SMALL)),
        "physical memory: free of a 4 KiB block at AT, which is in one of 2 MiB"
    );
    let inside = refusal(|memory, at| memory.free(plus(at, 4096), LARGE));
    assert!(inside.contains("free of a 2 MiB block"), "{inside}");
    let across = refusal(|memory, at| memory.read(plus(at, (2 << 20) - 1), &mut [0; 2]));
    assert!(
        across.ends_with("for 2 bytes, beyond its 2 MiB block"),
        "{across}"
    );
    let across = refusal(|memory, at| memory.write(plus(at, (2 << 20) - 1), &[0; 2]));
    assert!(
        across.ends_with("for 2 bytes, beyond its 2 MiB block"),
        "{across}"
    );
    let part = refusal(|memory, at| memory.copy(plus(at, 4096), at, LARGE));
    assert!(part.contains("beyond its 2 MiB block"), "{part}");
    let size = refusal(|memory, at| memory.copy(at, at, SMALL));
    assert_eq!(
        size,
        "physical memory: copy of 4 KiB at AT, in a block of another size"
    );
    let odd = refusal(|memory, at| _ = memory.read_entry(plus(at, 4)));
    assert!(odd.ends_with("which is not aligned to 8"), "{odd}");
    for nowhere in [0, 0x1000, 1 << 46, u64::MAX - 4095, (1 << 40) - 4096] {
        let message = refusal(|memory, _| memory.read(PhysAddr(nowhere), &mut [0]));
        assert!(message.ends_with("where no block ever was"), "{message}");
    }
    let never = refusal(|memory, at| memory.write(plus(at, 100 << 20), &[0]));
    assert!(never.ends_with("where no block ever was"), "{never}");
}
