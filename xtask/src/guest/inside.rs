//! Where a path of the guest leads to in a root that is a folder on this machine.
//!
//! Links in the root are followed inside it: `/lib` of a Debian leads to `usr/lib`, and an absolute link starts at the root's
//! own top. What is put in later has to go where a path really leads: Linux takes a folder in an archive for the wish to
//! replace a link of that name.

use std::collections::VecDeque;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// How many links are followed: Linux's own limit (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// The path of the guest, absolute and without links, that `path` leads to. What is not there has no links. `None` where
/// links go round in a circle.
pub(super) fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut left: VecDeque<PathBuf> = parts(path);
    let mut found = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part.as_os_str() == ".." {
            found.pop();
            continue;
        }
        match fs::read_link(on_host(root, &found.join(&part))) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.is_absolute() {
                    found = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    left.push_front(part);
                }
            }
            Err(_) => found.push(part),
        }
    }
    Some(found)
}

/// The same for a path at which something is to be put: its last part is taken as it is.
pub(super) fn resolve_place(root: &Path, path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    Some(resolve(root, path.parent()?)?.join(name))
}

/// Where a path of the guest, without links, is on this machine.
pub(super) fn on_host(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A path's names and its steps upwards.
fn parts(path: &Path) -> VecDeque<PathBuf> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{on_host, resolve, resolve_place};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn links_are_followed_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("usr/lib/x")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("usr/lib/x/real"), "").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/usr/lib/x/real", root.join("etc/absolute")).unwrap();
        symlink("../../lib/x/real", root.join("usr/lib/x/relative")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        symlink("../../../etc", root.join("out")).unwrap();
        for (path, expected) in [
            ("/lib/x/real", "/usr/lib/x/real"),
            ("/lib/x/relative", "/usr/lib/x/real"),
            ("/etc/absolute", "/usr/lib/x/real"),
            ("/out/absolute", "/usr/lib/x/real"),
            ("/not/there", "/not/there"),
            ("lib/./x/../x/real", "/usr/lib/x/real"),
            ("/", "/"),
        ] {
            let found = resolve(root, Path::new(path));
            assert_eq!(found.as_deref(), Some(Path::new(expected)), "{path}");
        }
        assert_eq!(resolve(root, Path::new("/circle/x")), None);
        let real = on_host(root, Path::new("/usr/lib/x/real"));
        assert!(real.is_file());
    }

    #[test]
    fn a_place_keeps_its_last_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("usr")).unwrap();
        symlink("usr", dir.path().join("bin")).unwrap();
        symlink("other", dir.path().join("usr/p")).unwrap();
        let place = resolve_place(dir.path(), Path::new("/bin/p"));
        assert_eq!(place.as_deref(), Some(Path::new("/usr/p")));
        assert_eq!(resolve_place(dir.path(), Path::new("/")), None);
    }
}
