//! Arguments by chance: few values, the interesting ones often.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore as _;

use crate::arena::NR_PAGES;

/// Protections, each as often as it shall come: `PROT_*` bits, 8 being `PROT_SEM`.
const PROTS: [u8; 32] = [
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 0, 0, 0, 5, 5, 7, 7, 7, 4, 4, 4, 2, 6, 11, 12,
    15,
];

/// Draws arguments.
#[derive(Debug)]
pub struct Draw {
    random: ChaCha8Rng,
    /// Around here half of the program's steps happen.
    hot: u8,
}

impl Draw {
    /// From a stream.
    #[must_use]
    pub const fn new(random: ChaCha8Rng) -> Self {
        Self { random, hot: 0 }
    }

    /// A program begins, with a favourite place.
    pub fn new_program(&mut self) {
        self.hot = self.byte() % (NR_PAGES - 3);
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u32) -> u32 {
        let product = u64::from(self.random.next_u32()) * u64::from(bound);
        u32::try_from(product >> 32).unwrap_or(0)
    }

    /// An index below a length.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    /// Yes, one time in so many.
    pub fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.random.next_u32().to_le_bytes()[0]
    }

    /// A page of the window.
    pub fn page(&mut self) -> u8 {
        let [first, second, ..] = self.random.next_u32().to_le_bytes();
        if first & 1 == 0 {
            self.hot + second % 4
        } else {
            second % NR_PAGES
        }
    }

    /// A first page and a number of pages: mostly one, seldom beyond the window's end.
    pub fn range(&mut self) -> (u8, u8) {
        let page = self.page();
        let [first, second, third, _] = self.random.next_u32().to_le_bytes();
        let nr = match first % 20 {
            0..=11 => 1,
            12..=16 => 2 + second % 2,
            _ => 1 + second % NR_PAGES,
        };
        let room = NR_PAGES - page;
        (page, if third % 32 == 0 { nr } else { nr.min(room) })
    }

    /// A protection.
    pub fn prot(&mut self) -> u8 {
        self.pick(&PROTS)
    }

    /// A key for a system call: mostly one of the first, which are mostly allocated; sometimes -1 or 0, or free.
    pub fn key(&mut self) -> i8 {
        let [first, second, ..] = self.random.next_u32().to_le_bytes();
        match first % 20 {
            0 => 0,
            1 | 2 => -1,
            3 | 4 => 1 + (second % 15).cast_signed(),
            _ => 1 + (second % 4).cast_signed(),
        }
    }

    /// A key from 1 for the register.
    pub fn real_key(&mut self) -> u8 {
        let [first, second, ..] = self.random.next_u32().to_le_bytes();
        if first % 8 == 0 {
            1 + second % 15
        } else {
            1 + second % 4
        }
    }

    /// Two bits of rights: mostly one of them or none.
    pub fn rights(&mut self) -> u8 {
        self.pick(&[0, 0, 0, 1, 1, 2, 2, 3])
    }

    /// A register that leaves key 0 open: the first keys anyhow, the rest mostly closed or mostly open.
    pub fn pkru(&mut self) -> u32 {
        let first = self.random.next_u32();
        let rest = match first >> 30 {
            0 => 0,
            1 => self.random.next_u32(),
            _ => 0x5555_5555,
        };
        (rest & !0x3FF | first & 0x3FF) & !0b11
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::Draw;
    use crate::arena::NR_PAGES;

    #[test]
    fn what_is_drawn_is_in_its_bounds() {
        let mut draw = Draw::new(ChaCha8Rng::seed_from_u64(3));
        let mut has_overhang = false;
        for _ in 0..20_000 {
            draw.new_program();
            assert!(draw.below(7) < 7);
            assert!(draw.page() < NR_PAGES);
            let (page, nr) = draw.range();
            assert!(page < NR_PAGES && (1..=NR_PAGES).contains(&nr));
            has_overhang |= page + nr > NR_PAGES;
            assert!((-1..=15).contains(&draw.key()));
            assert!((1..=15).contains(&draw.real_key()));
            assert!(draw.rights() < 4);
            assert_eq!(draw.pkru() & 3, 0);
        }
        assert!(has_overhang);
    }
}
