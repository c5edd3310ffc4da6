//! Which steps of a batch are kept, as text: `0-31+40+57-60`. The numbers are places in the batch, in order.

use crate::op::Op;

/// Some of a batch's steps, by their places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept(pub Vec<u32>);

impl Kept {
    /// The first steps.
    #[must_use]
    pub fn first(nr: usize) -> Self {
        Self((0..u32::try_from(nr).unwrap_or(u32::MAX)).collect())
    }

    /// The steps themselves.
    #[must_use]
    pub fn of(&self, batch: &[Op]) -> Vec<Op> {
        let get = |place: &u32| batch.get(*place as usize).copied();
        self.0.iter().filter_map(get).collect()
    }

    /// As text; `none` if nothing is kept.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for place in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *place => *last = *place,
                _ => runs.push((*place, *place)),
            }
        }
        let text = |(first, last): &(u32, u32)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        if runs.is_empty() {
            return "none".to_owned();
        }
        runs.iter().map(text).collect::<Vec<_>>().join("+")
    }

    /// From text.
    ///
    /// # Errors
    ///
    /// What is not understood.
    pub fn decode(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let mut places = Vec::new();
        for run in text.split('+') {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let number = |text: &str| {
                text.parse::<u32>()
                    .map_err(|_| format!("{run:?} is no range"))
            };
            let (first, last) = (number(first)?, number(last)?);
            let is_in_order = places.last().is_none_or(|before| *before < first) && first <= last;
            if !is_in_order || last > 1 << 20 {
                return Err(format!("{run:?} is out of order"));
            }
            places.extend(first..=last);
        }
        Ok(Self(places))
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn text_and_back() {
        for places in [
            vec![],
            vec![7],
            vec![0, 1, 2],
            vec![0, 2, 3, 4, 9],
            vec![5, 7, 9],
        ] {
            let kept = Kept(places);
            assert_eq!(Kept::decode(&kept.encode()), Ok(kept));
        }
        assert_eq!(Kept(vec![0, 2, 3, 4, 9]).encode(), "0+2-4+9");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a", "1-", "3-1", "1+1", "2+1", "0-4294967295", "1,2"] {
            assert!(Kept::decode(text).is_err(), "{text}");
        }
    }
}
