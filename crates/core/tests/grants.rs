//! Grant counts against two models: a bag of open grants, for everything below the maximum, and two numbers that stop
//! moving at the maximum.

use pkeys_core::{GrantCounts, Rights, effective};

const RIGHTS: [Rights; 3] = [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite];

/// Every grant that is open, one by one.
#[derive(Clone, Default)]
struct Bag(Vec<Rights>);

impl Bag {
    fn open(&mut self, rights: Rights) {
        self.0.push(rights);
    }

    fn close(&mut self, rights: Rights) {
        if let Some(index) = self.0.iter().rposition(|&open| open == rights) {
            self.0.remove(index);
        }
    }

    fn count(&self, rights: Rights) -> usize {
        self.0.iter().filter(|&&open| open == rights).count()
    }

    fn check(&self, counts: GrantCounts) {
        let reads = self.count(Rights::ReadOnly);
        let writes = self.count(Rights::ReadWrite);
        assert_eq!(usize::from(counts.reads()), reads);
        assert_eq!(usize::from(counts.writes()), writes);
        assert_eq!(counts.is_empty(), reads + writes == 0);
        assert!(!counts.is_saturated());
        let greatest = self.0.iter().copied().max().unwrap_or(Rights::NoAccess);
        assert_eq!(counts.held(), greatest);
    }
}

/// Follows every sequence of openings and closings of up to `depth` steps; gives how many states were compared.
fn follow_bag(counts: GrantCounts, bag: &Bag, depth: u32) -> u32 {
    bag.check(counts);
    if depth == 0 {
        return 1;
    }
    let mut compared = 1;
    for rights in RIGHTS {
        let mut opened = bag.clone();
        opened.open(rights);
        compared += follow_bag(counts.open(rights), &opened, depth - 1);
        let mut closed = bag.clone();
        closed.close(rights);
        compared += follow_bag(counts.close(rights), &closed, depth - 1);
    }
    compared
}

#[test]
fn every_sequence_of_eight_agrees_with_a_bag_of_grants() {
    let compared = follow_bag(GrantCounts::EMPTY, &Bag::default(), 8);
    // 1 + 6 + ... + 6^8.
    assert_eq!(compared, (6_u32.pow(9) - 1) / 5);
}

/// Two counts that go up to the maximum and stay.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sticky {
    reads: u32,
    writes: u32,
}

impl Sticky {
    fn change(mut self, rights: Rights, step: i64) -> Self {
        let count = match rights {
            Rights::ReadOnly => &mut self.reads,
            Rights::ReadWrite => &mut self.writes,
            _ => return self,
        };
        if *count < 65_535 {
            *count = u32::try_from(i64::from(*count) + step).unwrap_or(0);
        }
        self
    }

    fn check(self, counts: GrantCounts) {
        assert_eq!(u32::from(counts.reads()), self.reads);
        assert_eq!(u32::from(counts.writes()), self.writes);
        assert_eq!(counts.bits(), self.writes * 65_536 + self.reads);
        assert_eq!(
            counts.is_saturated(),
            self.reads == 65_535 || self.writes == 65_535
        );
        let held = match (self.writes, self.reads) {
            (1.., _) => Rights::ReadWrite,
            (0, 1..) => Rights::ReadOnly,
            (0, 0) => Rights::NoAccess,
        };
        assert_eq!(counts.held(), held);
    }
}

fn follow_sticky(counts: GrantCounts, model: Sticky, depth: u32) {
    model.check(counts);
    if depth > 0 {
        for rights in RIGHTS {
            follow_sticky(counts.open(rights), model.change(rights, 1), depth - 1);
            follow_sticky(counts.close(rights), model.change(rights, -1), depth - 1);
        }
    }
}

#[test]
fn no_sequence_carries_borrows_or_leaves_the_maximum() {
    let edges = [0, 1, 2, 0x7FFF, 0x8000, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF];
    for reads in edges {
        for writes in edges {
            let model = Sticky { reads, writes };
            follow_sticky(GrantCounts::from_bits(writes << 16 | reads), model, 5);
        }
    }
}

#[test]
fn a_count_reached_by_opening_sticks_at_the_maximum() {
    for rights in [Rights::ReadOnly, Rights::ReadWrite] {
        let mut counts = GrantCounts::EMPTY;
        for opened in 1..=70_000 {
            counts = counts.open(rights);
            assert_eq!(counts.is_saturated(), opened >= 65_535, "{opened}");
        }
        let full = counts;
        for _ in 0..70_000 {
            counts = counts.close(rights);
        }
        assert_eq!(counts, full);
        assert_eq!(counts.held(), rights);
    }
}

#[test]
fn a_count_just_below_the_maximum_closes_down_to_nothing() {
    for rights in [Rights::ReadOnly, Rights::ReadWrite] {
        let mut counts = GrantCounts::EMPTY;
        for _ in 0..65_534 {
            counts = counts.open(rights);
        }
        for _ in 0..65_534 {
            assert_eq!(counts.held(), rights);
            counts = counts.close(rights);
        }
        assert!(counts.is_empty());
    }
}

#[test]
fn effective_rights_are_the_greater() {
    use Rights::{NoAccess, ReadOnly, ReadWrite};
    // Closed rights down, held rights across.
    let table = [
        (NoAccess, [NoAccess, ReadOnly, ReadWrite]),
        (ReadOnly, [ReadOnly, ReadOnly, ReadWrite]),
        (ReadWrite, [ReadWrite, ReadWrite, ReadWrite]),
    ];
    for (closed, row) in table {
        for (held, expected) in RIGHTS.into_iter().zip(row) {
            assert_eq!(effective(closed, held), expected, "{closed}, {held}");
        }
    }
}

#[test]
fn text_shows_both_counts() {
    let counts = GrantCounts::EMPTY
        .open(Rights::ReadOnly)
        .open(Rights::ReadWrite)
        .open(Rights::ReadWrite);
    assert_eq!(format!("{counts:?}"), "GrantCounts { reads: 1, writes: 2 }");
}
