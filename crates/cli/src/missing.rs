//! Why there are no keys, as facts for `--json` and words for people.

use pkeys::Unsupported;
use serde::Serialize;

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MissingKeys {
    /// The layer that has none: `CPU`, `kernel` or `sandbox`.
    pub(crate) layer: String,
    /// The whole sentence, with how it was found.
    pub(crate) reason: String,
}

impl From<Unsupported> for MissingKeys {
    fn from(unsupported: Unsupported) -> Self {
        Self {
            layer: unsupported.layer.to_string(),
            reason: unsupported.to_string(),
        }
    }
}
