//! What is known of a process without looking: enough to keep its programs alive.
//!
//! Two things a random program must not do. It must not run what is no code: a page may be called if a RET was planted
//! in it, or if the fetch is certain to fault. And it must not close key 0, on which its own stack lies: once key 0 was
//! freed, `pkey_alloc(2)` and execute-only memory may take it, and close it.
//!
//! Both are known from what earlier steps answered. As long as two sides answer alike they know the same, so that what
//! a step becomes never depends on the side. The knowledge errs on the careful side only.

use crate::op::{Advice, Fixing, Move, Op};

const EXEC: u8 = 4;

/// What a step did, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    /// The call answered no error, or the RET was planted.
    pub is_done: bool,
    /// Key 0 was allocated.
    pub has_key_zero: bool,
}

impl Effect {
    /// As two bits.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        self.is_done as u64 | (self.has_key_zero as u64) << 1
    }

    /// From the two lowest bits.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            is_done: bits & 1 != 0,
            has_key_zero: bits & 2 != 0,
        }
    }
}

/// A set of pages, a bit each.
type Pages = u64;

const fn pages(page: u8, nr: u8) -> Pages {
    let all = if nr >= 64 { u64::MAX } else { (1 << nr) - 1 };
    if page >= 64 { 0 } else { all << page }
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knowledge {
    /// Pages that have a RET at the one place that is called.
    planted: Pages,
    /// Pages from which a fetch faults: nothing is mapped, or `PROT_EXEC` is missing.
    faulting: Pages,
    /// Key 0 may be free, or be the execute-only key.
    is_key_zero_loose: bool,
}

impl Knowledge {
    /// A process whose window is empty.
    pub const EMPTY: Self = Self {
        planted: 0,
        faulting: u64::MAX,
        is_key_zero_loose: false,
    };

    /// The window was emptied.
    pub const fn forget_pages(&mut self) {
        self.planted = 0;
        self.faulting = u64::MAX;
    }

    /// Whether the page may be called.
    #[must_use]
    #[inline]
    pub const fn may_call(&self, page: u8) -> bool {
        (self.planted | self.faulting) & pages(page, 1) != 0
    }

    /// Whether a step may close key 0 on its own thread.
    #[must_use]
    #[inline]
    pub const fn may_close_key_zero(&self, op: Op) -> bool {
        self.is_key_zero_loose
            && match op {
                Op::PkeyAlloc { rights } => rights != 0,
                Op::Mmap { prot, .. } | Op::Mprotect { prot, .. } => prot == EXEC,
                Op::PkeyMprotect { prot, key, .. } => prot == EXEC && key == -1,
                _ => false,
            }
    }

    /// Learns from what a step did.
    #[inline]
    pub const fn learn(&mut self, op: Op, effect: Effect) {
        let is_done = effect.is_done;
        if effect.has_key_zero {
            self.is_key_zero_loose = false;
        }
        match op {
            Op::Mmap {
                page,
                nr,
                prot,
                fixing,
                ..
            } if is_done || matches!(fixing, Fixing::Fixed) => {
                self.map(pages(page, nr), prot, is_done);
            }
            Op::Munmap { page, nr } => {
                self.planted &= !pages(page, nr);
                if is_done {
                    self.faulting |= pages(page, nr);
                }
            }
            Op::Mprotect { page, nr, prot } | Op::PkeyMprotect { page, nr, prot, .. } => {
                self.protect(pages(page, nr), prot, is_done);
            }
            Op::Mremap { page, nr, to, how } => self.remap(page, nr, to, how, is_done),
            Op::Madvise {
                page,
                nr,
                advice: Advice::DontNeed,
            } => {
                self.planted &= !pages(page, nr);
            }
            Op::Call { page } if is_done => self.planted |= pages(page, 1),
            Op::Bad { defect, page } if defect.may_change_pages() => {
                self.planted &= !pages(page, 2);
            }
            Op::PkeyFree { key: 0 } if is_done => self.is_key_zero_loose = true,
            _ => {}
        }
    }

    const fn map(&mut self, range: Pages, prot: u8, is_done: bool) {
        self.planted &= !range;
        self.protect(range, prot, is_done);
    }

    const fn protect(&mut self, range: Pages, prot: u8, is_done: bool) {
        if prot & EXEC != 0 {
            // Done in part, perhaps: what was executable before stays so in any case.
            self.faulting &= !range;
        } else if is_done {
            self.faulting |= range;
        }
    }

    /// A move of `nr` pages.
    const fn remap(&mut self, page: u8, nr: u8, to: u8, how: Move, is_done: bool) {
        let old = pages(page, nr);
        // What stays of the old pages, in number and place, and where a page is added.
        let (kept, start, grown) = match how {
            Move::Same | Move::Leaving => (nr, to, 0),
            Move::Growing => (nr, to, pages(to + nr, 1)),
            Move::Shrinking => (1, to, 0),
            Move::InPlace => (nr, page, pages(page + nr, 1)),
            Move::Cut => (1, page, 0),
        };
        let new = pages(start, kept);
        let is_moved = !matches!(how, Move::InPlace | Move::Cut);
        let planted = moved(self.planted, page, kept, start);
        let faulting = moved(self.faulting, page, kept, start);
        let last_faults = self.faulting & pages(page + nr - 1, 1) != 0;
        if !is_done {
            // A move that fails may have unmapped its target, and what was to be cut off, before.
            self.planted &= if is_moved { !(old | new | grown) } else { !old };
            return;
        }
        let gone = if matches!(how, Move::Leaving) {
            0
        } else {
            old & !new
        };
        self.planted = self.planted & !(old | new | grown) | planted;
        self.faulting = self.faulting & !(new | grown) | gone | faulting;
        if last_faults {
            self.faulting |= grown;
        }
    }
}

/// The bits of some pages, as bits of as many pages from another one on.
const fn moved(set: Pages, page: u8, nr: u8, to: u8) -> Pages {
    if page >= 64 || to >= 64 {
        return 0;
    }
    (set >> page & pages(0, nr)) << to
}

#[cfg(test)]
mod tests {
    use super::{Effect, Knowledge};
    use crate::op::{Advice, Fixing, Mapping, Move, Op};

    const DONE: Effect = Effect {
        is_done: true,
        has_key_zero: false,
    };
    const FAILED: Effect = Effect {
        is_done: false,
        has_key_zero: false,
    };

    fn map(page: u8, nr: u8, prot: u8) -> Op {
        Op::Mmap {
            page,
            nr,
            prot,
            what: Mapping::Private,
            fixing: Fixing::Fixed,
        }
    }

    #[test]
    fn executable_memory_is_called_only_once_a_ret_is_there() {
        let mut known = Knowledge::EMPTY;
        assert!(known.may_call(3));
        known.learn(map(3, 2, 7), DONE);
        assert!(!known.may_call(3));
        assert!(!known.may_call(4));
        assert!(known.may_call(5));
        known.learn(Op::Call { page: 3 }, FAILED);
        assert!(!known.may_call(3));
        known.learn(Op::Call { page: 3 }, DONE);
        assert!(known.may_call(3));
        let advice = Advice::DontNeed;
        known.learn(
            Op::Madvise {
                page: 0,
                nr: 16,
                advice,
            },
            FAILED,
        );
        assert!(!known.may_call(3));
        known.learn(
            Op::Mprotect {
                page: 3,
                nr: 1,
                prot: 3,
            },
            DONE,
        );
        assert!(known.may_call(3));
        known.learn(
            Op::Mprotect {
                page: 0,
                nr: 16,
                prot: 4,
            },
            FAILED,
        );
        assert!(!known.may_call(3));
    }

    #[test]
    fn a_ret_moves_with_its_page() {
        let mut known = Knowledge::EMPTY;
        known.learn(map(0, 4, 7), DONE);
        known.learn(Op::Call { page: 1 }, DONE);
        let (page, to, how) = (1, 9, Move::Growing);
        known.learn(
            Op::Mremap {
                page,
                nr: 1,
                to,
                how,
            },
            DONE,
        );
        assert!(known.may_call(9));
        assert!(!known.may_call(10));
        assert!(known.may_call(1), "nothing is mapped there");
        let (page, to, how) = (9, 2, Move::Leaving);
        known.learn(
            Op::Mremap {
                page,
                nr: 1,
                to,
                how,
            },
            DONE,
        );
        assert!(known.may_call(2));
        assert!(!known.may_call(9), "a page of zeros");
        let (page, to, how) = (3, 2, Move::Same);
        known.learn(
            Op::Mremap {
                page,
                nr: 1,
                to,
                how,
            },
            FAILED,
        );
        assert!(!known.may_call(2), "unmapped perhaps, perhaps not");
    }

    #[test]
    fn a_free_key_zero_makes_some_steps_dangerous() {
        let mut known = Knowledge::EMPTY;
        let alloc = Op::PkeyAlloc { rights: 1 };
        assert!(!known.may_close_key_zero(alloc));
        known.learn(Op::PkeyFree { key: 0 }, FAILED);
        assert!(!known.may_close_key_zero(alloc));
        known.learn(Op::PkeyFree { key: 0 }, DONE);
        assert!(known.may_close_key_zero(alloc));
        assert!(known.may_close_key_zero(map(0, 1, 4)));
        assert!(!known.may_close_key_zero(map(0, 1, 5)));
        assert!(!known.may_close_key_zero(Op::PkeyAlloc { rights: 0 }));
        let key_zero = Effect {
            is_done: true,
            has_key_zero: true,
        };
        known.learn(alloc, key_zero);
        assert!(!known.may_close_key_zero(alloc));
    }

    #[test]
    fn an_effect_survives_as_bits() {
        for bits in 0..4 {
            assert_eq!(Effect::from_bits(bits).bits(), bits);
        }
    }
}
