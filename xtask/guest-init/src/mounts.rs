//! The file systems that a Linux program expects.
//!
//! A folder that has files in it already, which the initrd has brought, is left as it is: a file system mounted there
//! would hide them.

use rustix::mount::{MountFlags, mount};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Target, type and options, in the order of mounting.
const MOUNTS: [(&str, &str, Option<&core::ffi::CStr>); 6] = [
    ("/proc", "proc", None),
    ("/sys", "sysfs", None),
    ("/dev", "devtmpfs", None),
    ("/dev/pts", "devpts", None),
    ("/dev/shm", "tmpfs", Some(c"mode=1777")),
    (TEMPORARY, "tmpfs", Some(c"mode=1777")),
];

/// The one folder that the initrd may have files for.
const TEMPORARY: &str = "/tmp";

/// A process's own descriptors, under the names that programs and shells open.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Makes the folders and mounts everything; the error names the folder.
pub(crate) fn mount_all() -> Result<(), String> {
    for (target, kind, options) in MOUNTS {
        fs::create_dir_all(target).map_err(|err| format!("mkdir {target}: {err}"))?;
        if target == TEMPORARY && has_files(target).map_err(|err| format!("{target}: {err}"))? {
            let all = Permissions::from_mode(0o1777);
            fs::set_permissions(target, all).map_err(|err| format!("chmod {target}: {err}"))?;
            continue;
        }
        mount(kind, target, kind, MountFlags::empty(), options)
            .map_err(|err| format!("mount {kind} on {target}: {err}"))?;
    }
    for (link, target) in LINKS {
        if !Path::new(link).exists() {
            symlink(target, link).map_err(|err| format!("{link}: {err}"))?;
        }
    }
    Ok(())
}

/// Whether a folder has anything in it.
fn has_files(folder: &str) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.next().is_some())
}
