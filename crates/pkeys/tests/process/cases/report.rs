//! Reports: filled in with the report's own cases.

use crate::case::Case;

pub(crate) const CASES: &[Case] = &[];
