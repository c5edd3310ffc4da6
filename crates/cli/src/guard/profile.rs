//! Profiles: what is known of a library, in one small readable file.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use crate::guard::Refusal;
use crate::guard::options::unknown;

/// The profiles that come with this program.
const BUILT_IN: [(&str, &str); 1] = [(
    "sqlite",
    include_str!("../../../guard/profiles/sqlite.toml"),
)];

/// A profile.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// Names of the library, any of which may be loaded.
    pub(super) library: Vec<String>,
    /// Functions whose allocations belong to their caller.
    #[serde(default)]
    pub(super) share: Vec<String>,
    /// Functions that write nothing behind the key.
    #[serde(default)]
    pub(super) ungated: Vec<String>,
    /// Functions that take callbacks, and as which arguments.
    #[serde(default)]
    pub(super) callbacks: BTreeMap<String, Vec<u8>>,
}

/// The profile of that name, or in that file. A name with a slash or a dot in it is a file's.
pub(super) fn find(name: &str) -> Result<Profile, Refusal> {
    if !name.contains(['/', '.']) {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = found
            .ok_or_else(|| unknown("profile", name, BUILT_IN.iter().map(|(known, _)| *known)))?;
        return read(name, text);
    }
    let text = fs::read_to_string(name)
        .map_err(|error| Refusal::Usage(format!("profile {name}: {error}")))?;
    read(name, &text)
}

fn read(name: &str, text: &str) -> Result<Profile, Refusal> {
    let profile: Profile = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        Refusal::Usage(format!("profile {name}, line {line}: {}", error.message()))
    })?;
    if profile.library.is_empty() {
        return Err(Refusal::Usage(format!("profile {name} names no library")));
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, read};

    #[test]
    fn every_profile_that_comes_along_can_be_read() {
        for (name, text) in BUILT_IN {
            let profile = read(name, text).unwrap();
            assert!(!profile.share.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_mistake_is_told_by_its_line() {
        for (text, told) in [
            ("library = []", "profile p names no library"),
            (
                "library = [\"a\"]\nshar = []",
                "profile p, line 2: unknown field `shar`",
            ),
            ("library = [\"a\"]\n\nshare = [1]", "profile p, line 3: "),
            ("x", "profile p, line 1: "),
        ] {
            let refusal = format!("{:?}", read("p", text).unwrap_err());
            assert!(refusal.contains(told), "{refusal}");
        }
    }
}
