//! The kernel that QEMU starts: a file, or bytes that are in this program.
//!
//! QEMU wants a name that it can open. Bytes get one without a file on a disk, which somebody would have to remove also when
//! this program is killed: they are put into memory that Linux treats as a file (`memfd_create(2)`), whose descriptor QEMU
//! inherits and opens once more by its name in `/proc`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::process;

/// A kernel.
#[derive(Debug)]
pub enum Kernel {
    /// An ELF file.
    File(PathBuf),
    /// Memory with an ELF file in it.
    Memory(OwnedFd),
}

impl Kernel {
    /// A kernel of these bytes.
    ///
    /// # Errors
    ///
    /// There is too little memory, or no `memfd_create(2)`.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let memory = memfd_create("pkeys-image", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(bytes)?;
        Ok(Self::Memory(file.into()))
    }

    /// Gives it to QEMU.
    pub(crate) fn give_to(&self, qemu: &mut Command) -> io::Result<()> {
        qemu.arg("-kernel");
        match self {
            Self::File(path) => {
                qemu.arg(path);
            }
            Self::Memory(memory) => {
                let memory = memory.as_fd().try_clone_to_owned()?;
                qemu.arg(format!("/proc/self/fd/{}", memory.as_raw_fd()));
                process::inherit(qemu, memory);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Kernel;
    use std::process::Command;

    #[test]
    fn a_child_can_open_bytes_as_often_as_it_likes() {
        let kernel = Kernel::from_bytes(b"bytes").unwrap();
        for _ in 0..2 {
            let mut cat = Command::new("/bin/sh");
            cat.args(["-c", "cat \"$2\" \"$2\"", "sh"]);
            kernel.give_to(&mut cat).unwrap();
            let done = cat.output().unwrap();
            assert_eq!(done.stdout, b"bytesbytes");
        }
    }

    #[test]
    fn a_file_is_given_by_its_path() {
        let mut qemu = Command::new("q");
        Kernel::File("/k".into()).give_to(&mut qemu).unwrap();
        assert!(qemu.get_args().eq(["-kernel", "/k"]));
    }
}
