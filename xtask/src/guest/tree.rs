//! Packs files and whole folders into an archive, as they are on this machine.
//!
//! Kinds, permissions and links are kept; owners are not: everything in a guest belongs to root. A file under two names (a
//! hard link) becomes two files. In the order of names, so that the same folder gives the same archive.

use super::cpio::Archive;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What of a file's mode is permissions.
const PERMISSIONS: u32 = 0o7777;

/// Adds the file or folder `from` as `to`; a link that is named itself counts as what it points to.
pub(super) fn add<W: Write>(archive: &mut Archive<W>, to: &str, from: &Path) -> Result<()> {
    let about = fs::metadata(from).with_context(|| from.display().to_string())?;
    entry(archive, to, from, &about)
}

/// Adds what is in the folder `from` to the folder `to`, which is `""` for the root.
pub(super) fn add_contents<W: Write>(
    archive: &mut Archive<W>,
    to: &str,
    from: &Path,
) -> Result<()> {
    let list = fs::read_dir(from).with_context(|| from.display().to_string())?;
    let mut names = list
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = from.join(&name);
        let Some(name) = name.to_str() else {
            bail!("{}: the name is not UTF-8", path.display());
        };
        let about = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        entry(archive, &format!("{to}/{name}"), &path, &about)?;
    }
    Ok(())
}

/// Adds one entry, and what is below it.
fn entry<W: Write>(
    archive: &mut Archive<W>,
    to: &str,
    from: &Path,
    about: &Metadata,
) -> Result<()> {
    let name = || from.display().to_string();
    let permissions = about.mode() & PERMISSIONS;
    if about.is_dir() {
        archive.folder(to, permissions).with_context(name)?;
        add_contents(archive, to, from)
    } else if about.is_symlink() {
        let target = fs::read_link(from).with_context(name)?;
        let target = target.to_str().context("the target is not UTF-8");
        archive
            .link(to, target.with_context(name)?)
            .with_context(name)
    } else if about.is_file() {
        let file = File::open(from).with_context(name)?;
        let written = archive.file_as(to, permissions, about.len(), file);
        written.with_context(name)
    } else {
        bail!("{}: neither a file, a folder nor a link", from.display());
    }
}

#[cfg(test)]
mod tests {
    use super::{add, add_contents};
    use crate::guest::cpio::Archive;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    /// The archive's bytes as text: enough to find names, modes and contents in.
    fn packed(fill: impl FnOnce(&mut Archive<Vec<u8>>)) -> String {
        let mut archive = Archive::new(Vec::new());
        fill(&mut archive);
        String::from_utf8(archive.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_folder_is_packed_as_it_is_and_always_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path();
        fs::create_dir(from.join("usr")).unwrap();
        fs::create_dir(from.join("empty")).unwrap();
        fs::write(from.join("usr/b"), "bb").unwrap();
        fs::write(from.join("usr/a"), "aa").unwrap();
        fs::set_permissions(from.join("usr/a"), Permissions::from_mode(0o4750)).unwrap();
        symlink("usr", from.join("lib")).unwrap();
        let text = packed(|archive| add_contents(archive, "", from).unwrap());
        let at = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("{what:?}: {text}"))
        };
        assert!(at("empty\0") < at("lib\0"));
        assert!(at("lib\0") < at("usr\0"), "{text}");
        assert!(at("usr/a\0") < at("usr/b\0"), "{text}");
        assert!(text.contains("000089e8"), "0o104750: {text}");
        assert!(text.contains("0000a1ff"), "0o120777: {text}");
        assert_eq!(
            text,
            packed(|archive| add_contents(archive, "", from).unwrap())
        );
    }

    #[test]
    fn a_link_that_is_named_itself_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "contents").unwrap();
        let link = dir.path().join("link");
        symlink("file", &link).unwrap();
        let text = packed(|archive| add(archive, "/there", &link).unwrap());
        assert!(text.contains("there\0") && text.contains("contents"));
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut archive = Archive::new(Vec::new());
        let err = add(&mut archive, "/s", &socket).unwrap_err();
        assert!(err.to_string().contains("socket: neither"), "{err}");
    }
}
