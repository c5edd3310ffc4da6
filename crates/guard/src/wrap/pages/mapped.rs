//! What the guarded libraries have mapped, and which of it is behind a key.
//!
//! A list of ranges that do not overlap. Every change begins by cutting out a range: whatever reaches into it is split at its ends.
//! The library `pkeys` is told of each range behind a key that grows, shrinks or goes, as reports look addresses up there.
#![allow(unsafe_code, reason = "pages are put behind keys")]

use std::collections::BTreeMap;

use crate::domain::{self, Guarded};

/// What reports call such memory.
const LABEL: &str = "mmap";

/// How a range stands with its library's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Without a key: it cannot be written, or may be executed.
    Plain,
    /// Behind it.
    Keyed,
    /// Without a key for good: others have to write it too.
    Left,
}

/// One range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) owner: &'static Guarded,
    pub(super) state: State,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Mapped(BTreeMap<usize, Piece>);

impl Mapped {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Cuts a range out. What was in it is given back, clipped to the range, and is no region of a domain any more; its pages
    /// are as they were.
    pub(super) fn cut(&mut self, start: usize, end: usize) -> Vec<Piece> {
        let hit: Vec<Piece> = self
            .0
            .range(..end)
            .map(|(_, piece)| *piece)
            .filter(|piece| piece.end > start)
            .collect();
        let mut taken = Vec::new();
        for piece in hit {
            self.0.remove(&piece.start);
            let rest = [(piece.start, start), (end, piece.end)];
            let rest = rest.into_iter().filter(|(start, end)| start < end);
            let rest: Vec<(usize, usize)> = rest.collect();
            for &(start, end) in &rest {
                self.0.insert(
                    start,
                    Piece {
                        start,
                        end,
                        ..piece
                    },
                );
            }
            if let (State::Keyed, Some(domain)) = (piece.state, piece.owner.domain.get()) {
                let _lock = domain::adopting();
                let rest: Vec<(usize, usize)> = rest
                    .iter()
                    .map(|(start, end)| (*start, end - start))
                    .collect();
                domain.recut(piece.start, &rest, LABEL);
            }
            taken.push(Piece {
                start: piece.start.max(start),
                end: piece.end.min(end),
                ..piece
            });
        }
        taken
    }

    /// Puts a range in where there is none, as it is: one that is behind a key becomes a region again.
    pub(super) fn put(&mut self, piece: Piece) {
        if let (State::Keyed, Some(domain)) = (piece.state, piece.owner.domain.get()) {
            domain.recut(
                piece.start,
                &[(piece.start, piece.end - piece.start)],
                LABEL,
            );
        }
        self.0.insert(piece.start, piece);
    }

    /// Puts a range in, and its pages behind the key. Gives whether that was possible; it is in without where not.
    pub(super) fn put_keyed(&mut self, piece: Piece) -> bool {
        let is_keyed = piece.owner.domain.get().is_some_and(|domain| {
            let _lock = domain::adopting();
            // SAFETY: mapped by the library, readable and writable (1); it uses them inside its gates (2); whatever unmaps
            // them cuts them out first (3).
            unsafe { domain.adopt(piece.start, piece.end - piece.start, LABEL) }.is_ok()
        });
        let state = if is_keyed { State::Keyed } else { State::Plain };
        self.0.insert(piece.start, Piece { state, ..piece });
        is_keyed
    }

    /// Takes the key off a range that was cut out, and puts it in. Its pages are readable and writable then.
    pub(super) fn put_unkeyed(&mut self, piece: Piece, state: State) {
        if let (State::Keyed, Some(domain)) = (piece.state, piece.owner.domain.get()) {
            let _lock = domain::adopting();
            let _ = domain.give_back(piece.start, piece.end - piece.start);
        }
        self.0.insert(piece.start, Piece { state, ..piece });
    }

    /// The range that an address is in.
    pub(super) fn find(&self, addr: usize) -> Option<Piece> {
        let (_, piece) = self.0.range(..=addr).next_back()?;
        (addr < piece.end).then_some(*piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: usize, end: usize, state: State) -> Piece {
        let settings = crate::settings::Settings {
            domains: vec![crate::settings::DomainSettings::default()],
            ..crate::settings::Settings::default()
        };
        // One domain for all tests; it has no key, and so nobody is told.
        if crate::domain::all().is_empty() {
            let _ = crate::domain::prepare(&settings);
        }
        Piece {
            start,
            end,
            owner: &crate::domain::all()[0],
            state,
        }
    }

    fn ranges(mapped: &Mapped) -> Vec<(usize, usize, State)> {
        let all = mapped.0.values();
        all.map(|piece| (piece.start, piece.end, piece.state))
            .collect()
    }

    #[test]
    fn what_is_cut_out_is_clipped_and_the_rest_stays() {
        use State::{Keyed, Left, Plain};
        let mut mapped = Mapped::new();
        mapped.put(piece(10, 20, Keyed));
        mapped.put(piece(20, 30, Plain));
        mapped.put(piece(40, 50, Left));
        let cut = mapped.cut(15, 45);
        let cut: Vec<_> = cut
            .iter()
            .map(|cut| (cut.start, cut.end, cut.state))
            .collect();
        assert_eq!(cut, [(15, 20, Keyed), (20, 30, Plain), (40, 45, Left)]);
        assert_eq!(ranges(&mapped), [(10, 15, Keyed), (45, 50, Left)]);
        assert!(mapped.cut(0, 10).is_empty() && mapped.cut(50, 60).is_empty());
        assert!(mapped.cut(15, 45).is_empty());
    }

    #[test]
    fn a_hole_in_the_middle_leaves_both_ends() {
        let mut mapped = Mapped::new();
        mapped.put(piece(10, 50, State::Keyed));
        assert_eq!(mapped.cut(20, 30).len(), 1);
        assert_eq!(
            ranges(&mapped),
            [(10, 20, State::Keyed), (30, 50, State::Keyed)]
        );
        assert_eq!(mapped.find(19).map(|piece| piece.end), Some(20));
        assert!(mapped.find(20).is_none() && mapped.find(29).is_none());
        assert_eq!(mapped.find(30).map(|piece| piece.start), Some(30));
    }

    #[test]
    fn without_a_key_nothing_is_behind_one() {
        let mut mapped = Mapped::new();
        assert!(!mapped.put_keyed(piece(10, 50, State::Plain)));
        assert_eq!(ranges(&mapped), [(10, 50, State::Plain)]);
    }
}
