//! The file systems that a Linux program expects.

use rustix::mount::{MountFlags, mount};
use std::fs;

/// Target, type and options, in the order of mounting.
const MOUNTS: [(&str, &str, Option<&core::ffi::CStr>); 6] = [
    ("/proc", "proc", None),
    ("/sys", "sysfs", None),
    ("/dev", "devtmpfs", None),
    ("/dev/pts", "devpts", None),
    ("/dev/shm", "tmpfs", Some(c"mode=1777")),
    ("/tmp", "tmpfs", Some(c"mode=1777")),
];

/// Makes the folders and mounts everything; the error names the folder.
pub(crate) fn mount_all() -> Result<(), String> {
    for (target, kind, options) in MOUNTS {
        fs::create_dir_all(target).map_err(|err| format!("mkdir {target}: {err}"))?;
        mount(kind, target, kind, MountFlags::empty(), options)
            .map_err(|err| format!("mount {kind} on {target}: {err}"))?;
    }
    Ok(())
}
