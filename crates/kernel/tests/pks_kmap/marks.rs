//! The two places for marks, against a map.

use std::collections::BTreeMap;

use pkeys_kernel::pks::kmap::{HashedMarks, Mark, MarkWord, Marks, NoRoom, PageRecord, Records};
use pkeys_kernel::pks::region::Page;

use crate::rig::page;

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }
}

/// Sets and takes away marks of pages, of which at most `room` have one at a time.
fn compare(marks: &impl Marks, nr_pages: usize, room: usize, steps: usize, seed: u64) -> usize {
    let mut random = Random(seed);
    let mut model = BTreeMap::new();
    let mut nr_refused = 0;
    for step in 0..steps {
        let number = random.below(nr_pages);
        let bits = u32::try_from(random.below(1 << Mark::BITS)).unwrap();
        let is_taken_away = random.below(3) == 0;
        let mark = Mark::from_bits(if is_taken_away { 0 } else { bits });
        let has_room = model.contains_key(&number) || model.len() < room || mark == Mark::NONE;
        let result = marks.set(page(number), mark);
        assert_eq!(result.is_ok(), has_room, "step {step}");
        if result == Err(NoRoom) {
            nr_refused += 1;
        } else if mark == Mark::NONE {
            model.remove(&number);
        } else {
            model.insert(number, mark);
        }
        for number in 0..nr_pages {
            let expected = model.get(&number).copied().unwrap_or(Mark::NONE);
            assert_eq!(
                marks.get(page(number)),
                expected,
                "step {step}, page {number}"
            );
        }
    }
    nr_refused
}

#[test]
fn a_hash_keeps_what_it_has_room_for() {
    assert_eq!(compare(&HashedMarks::<64>::new(), 40, 64, 4000, 1), 0);
    for seed in 2..20 {
        let nr_refused = compare(&HashedMarks::<8>::new(), 20, 8, 2000, seed);
        assert!(nr_refused > 100, "{nr_refused}");
        assert!(compare(&HashedMarks::<1>::new(), 3, 1, 200, seed) > 20);
    }
    assert_eq!(
        HashedMarks::<0>::new().set(page(0), Mark::from_bits(1)),
        Err(NoRoom)
    );
    assert_eq!(HashedMarks::<0>::new().get(page(0)), Mark::NONE);
}

/// Pages whose numbers differ in the highest bits only, and the lowest and the highest page that a kernel can have.
#[test]
fn a_hash_tells_far_pages_apart() {
    let marks = HashedMarks::<8>::new();
    let addrs = [
        0xFF00_0000_0000_0000,
        0xFF80_0000_0000_0000,
        0xFFFF_8000_0000_0000,
        u64::MAX,
        0x1000,
    ];
    for (count, addr) in (1..).zip(addrs) {
        marks
            .set(Page::containing(addr), Mark::from_bits(count))
            .unwrap();
    }
    for (count, addr) in (1..).zip(addrs) {
        assert_eq!(
            marks.get(Page::containing(addr)).count(),
            count,
            "{addr:#x}"
        );
    }
}

#[test]
fn records_keep_the_marks_of_their_pages() {
    struct Record {
        _owner: u64,
        mark: MarkWord,
    }
    impl PageRecord for Record {
        fn mark(&self) -> &MarkWord {
            &self.mark
        }
    }
    let records: [_; 8] = core::array::from_fn(|number| Record {
        _owner: number as u64,
        mark: MarkWord::new(),
    });
    let marks = Records::new(page(0), &records);
    assert_eq!(compare(&marks, 8, 8, 1000, 1), 0);
    // A page without a record is not shared, and never was.
    let marks = Records::new(page(2), &records[2..]);
    for number in [0, 1, 8] {
        assert_eq!(marks.get(page(number)), Mark::NONE);
        assert_eq!(marks.set(page(number), Mark::NONE), Ok(()));
        assert_eq!(marks.set(page(number), Mark::from_bits(1)), Err(NoRoom));
    }
}

#[test]
fn a_mark_is_what_its_word_says() {
    let mark = Mark::from_bits(1 << 18 | 1 << 17 | 5 | 1 << 19);
    assert_eq!(mark.bits(), 1 << 18 | 1 << 17 | 5);
    assert_eq!(
        (mark.count(), mark.is_shared(), mark.is_moved()),
        (5, true, true)
    );
    assert_eq!(
        format!("{mark:?}"),
        "Mark { count: 5, is_moved: true, is_shared: true }"
    );
}
