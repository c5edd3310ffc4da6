//! Which frames of physical memory are free: a bit each.
//!
//! A frame is 4 KiB. Runs of frames can be had too, aligned to their size where a large page needs it. The search goes
//! on where the last one ended, so that the usual request, one frame, looks at one word.

/// The bits, in words that the caller provides; a set bit is a frame in use.
#[derive(Debug)]
pub struct Frames<'a> {
    words: &'a mut [u64],
    nr_free: usize,
    next: usize,
}

impl<'a> Frames<'a> {
    /// All frames in use.
    pub fn new(words: &'a mut [u64]) -> Self {
        words.fill(u64::MAX);
        Self {
            words,
            nr_free: 0,
            next: 0,
        }
    }

    /// How many frames there are bits for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.words.len() * 64
    }

    /// How many are free.
    #[must_use]
    pub fn nr_free(&self) -> usize {
        self.nr_free
    }

    /// Gives frames back, `nr` from `first` on. Those that were free, and those beyond the last bit, stay as they are.
    pub fn free(&mut self, first: usize, nr: usize) {
        for frame in first..first.saturating_add(nr).min(self.capacity()) {
            if !self.is_free(frame) {
                self.flip(frame);
                self.nr_free += 1;
            }
        }
        self.next = self.next.min(first);
    }

    /// Takes a run of `nr` frames whose first is a multiple of `align`; `None` when there is none.
    pub fn allocate(&mut self, nr: usize, align: usize) -> Option<usize> {
        let align = align.max(1);
        let capacity = self.capacity();
        if nr == 0 || nr > self.nr_free {
            return None;
        }
        let start = self.next.next_multiple_of(align);
        let first = self
            .search(start, capacity, nr, align)
            .or_else(|| self.search(0, capacity, nr, align))?;
        for frame in first..first + nr {
            self.flip(frame);
        }
        self.nr_free -= nr;
        self.next = first + nr;
        Some(first)
    }

    fn search(&self, from: usize, to: usize, nr: usize, align: usize) -> Option<usize> {
        let mut first = from;
        while first.checked_add(nr)? <= to {
            match (first..first + nr)
                .rev()
                .find(|&frame| !self.is_free(frame))
            {
                None => return Some(first),
                Some(used) => first = self.behind(used).next_multiple_of(align),
            }
        }
        None
    }

    /// The first frame behind a used one that may be free: whole words in use are passed over.
    fn behind(&self, used: usize) -> usize {
        let mut frame = used + 1;
        while frame.is_multiple_of(64) && self.words.get(frame / 64) == Some(&u64::MAX) {
            frame += 64;
        }
        frame
    }

    fn is_free(&self, frame: usize) -> bool {
        self.words
            .get(frame / 64)
            .is_some_and(|word| word >> (frame % 64) & 1 == 0)
    }

    fn flip(&mut self, frame: usize) {
        if let Some(word) = self.words.get_mut(frame / 64) {
            *word ^= 1 << (frame % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_free_until_it_is_given() {
        let mut words = [0; 4];
        let mut frames = Frames::new(&mut words);
        assert_eq!(frames.allocate(1, 1), None);
        frames.free(250, 100);
        assert_eq!(frames.nr_free(), 6);
        frames.free(250, 2);
        assert_eq!(frames.nr_free(), 6);
    }

    #[test]
    fn runs_are_aligned_and_do_not_overlap() {
        let mut words = [0; 32];
        let mut frames = Frames::new(&mut words);
        frames.free(3, 2000);
        assert_eq!(frames.allocate(1, 1), Some(3));
        assert_eq!(frames.allocate(512, 512), Some(512));
        assert_eq!(frames.allocate(512, 512), Some(1024));
        assert_eq!(frames.allocate(512, 512), None);
        assert_eq!(frames.allocate(467, 1), Some(1536));
        assert_eq!(frames.allocate(508, 1), Some(4));
        assert_eq!(frames.nr_free(), 0);
        assert_eq!(frames.allocate(1, 1), None);
    }

    /// Against a list of flags, with requests from a generator.
    #[test]
    fn agrees_with_a_naive_model() {
        let mut words = [0; 8];
        let mut frames = Frames::new(&mut words);
        let mut model = vec![true; 512];
        frames.free(10, 450);
        model[10..460].fill(false);
        let mut held: Vec<(usize, usize)> = Vec::new();
        let mut random = 0x9E37_79B9_u32;
        for _ in 0..4000 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let nr = 1 + random as usize % 7;
            let align = 1 << (random >> 8 & 3);
            if random >> 16 & 3 != 0 {
                let fits = (0..512).step_by(align).any(|first| {
                    model
                        .get(first..first + nr)
                        .is_some_and(|run| run.iter().all(|used| !used))
                });
                let first = frames.allocate(nr, align);
                assert_eq!(first.is_some(), fits);
                if let Some(first) = first {
                    assert!(first.is_multiple_of(align));
                    assert!(model[first..first + nr].iter().all(|used| !used));
                    model[first..first + nr].fill(true);
                    held.push((first, nr));
                }
            } else if !held.is_empty() {
                let (first, nr) = held.swap_remove(random as usize % held.len());
                frames.free(first, nr);
                model[first..first + nr].fill(false);
            }
            assert_eq!(
                frames.nr_free(),
                model.iter().filter(|used| !**used).count()
            );
        }
    }
}
