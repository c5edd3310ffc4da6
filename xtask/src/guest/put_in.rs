//! The words of the command line for what a program gets: files, and variables of its environment.

use std::path::{Path, PathBuf};

/// A file or folder of this machine and its place in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PutIn {
    /// Here.
    pub(super) host: PathBuf,
    /// There; absolute.
    pub(super) guest: PathBuf,
}

impl PutIn {
    /// Reads `HOST[:GUEST]`. Without GUEST it is the same path, made absolute: a test program knows files by the path they had
    /// when it was built.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (host, guest) = match text.split_once(':') {
            Some((host, guest)) => (host, Some(guest)),
            None => (text, None),
        };
        if host.is_empty() {
            return Err("no file is named".into());
        }
        let host = PathBuf::from(host);
        let guest = match guest {
            Some(guest) if Path::new(guest).is_absolute() => guest.into(),
            Some(_) => return Err("the path in the guest must be absolute".into()),
            None => std::path::absolute(&host).map_err(|err| err.to_string())?,
        };
        Ok(Self { host, guest })
    }
}

/// Reads `KEY=VALUE`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("a variable and its value, KEY=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{PutIn, variable};
    use std::env;
    use std::path::Path;

    #[test]
    fn a_file_has_the_same_path_or_the_one_that_is_said() {
        let put = PutIn::parse("a/b:/c/d:e").unwrap();
        assert_eq!(put.host, Path::new("a/b"));
        assert_eq!(put.guest, Path::new("/c/d:e"));
        let put = PutIn::parse("a/b").unwrap();
        assert_eq!(put.guest, env::current_dir().unwrap().join("a/b"));
        for bad in ["", ":/x", "a:", "a:b"] {
            assert!(PutIn::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_variable_has_a_name() {
        let read = variable("A=b=c").unwrap();
        assert_eq!(read, ("A".into(), "b=c".into()));
        assert_eq!(variable("A=").unwrap().1, "");
        for bad in ["", "A", "=b"] {
            assert!(variable(bad).is_err(), "{bad:?}");
        }
    }
}
