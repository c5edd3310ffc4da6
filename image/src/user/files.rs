//! The programs that there are: by path, the bytes of an ELF file.
//!
//! There is no file system. The boot loader may have brought one program; the others are part of the kernel, for its
//! cases.

extern crate alloc;

use alloc::vec::Vec;

use crate::slot::Once;

/// A program that the boot loader brought.
#[derive(Debug)]
pub(crate) struct Brought {
    /// The path that it is executed by.
    pub(crate) path: Vec<u8>,
    /// The file.
    pub(crate) bytes: &'static [u8],
}

static BROUGHT: Once<Brought> = Once::new();

/// Says what the boot loader has brought, once.
pub(crate) fn bring(program: Brought) {
    BROUGHT.set(program);
}

/// A file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    /// Its path.
    pub(crate) path: &'static [u8],
    /// What is in it.
    pub(crate) bytes: &'static [u8],
}

/// The file of a path. What a program finds about itself in `/proc/self/exe` is the file that was brought.
pub(super) fn find(path: &[u8]) -> Option<File> {
    let own = crate::cases::programs().find(|program| program.path == path);
    own.or_else(|| {
        let brought = BROUGHT.get()?;
        let is_meant = path == brought.path || path == b"/proc/self/exe";
        is_meant.then_some(File {
            path: &brought.path,
            bytes: brought.bytes,
        })
    })
}
