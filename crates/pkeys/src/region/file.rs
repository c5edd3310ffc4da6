//! Regions of a mapped file: what other programs, and this one tomorrow, find in the file.
//!
//! A file is not this program's alone. Another process may write it, which changes what stands behind a reference, or
//! shorten it, after which an access is a SIGBUS. Neither can be excluded from here, so making such a region is unsafe, and
//! two kinds of access exist: guards and references, for files that others leave alone meanwhile, and copies of single
//! elements ([`FileRegion::load`], [`FileRegion::store`]), for files that others write. Both ask the kernel first
//! whether the file is still as long as its mapping (one `statx(2)`, some hundred nanoseconds). That catches the common
//! case, a file that was shortened earlier, and not the race.
#![allow(unsafe_code, reason = "references into a mapped file, msync(2)")]

use core::any::type_name;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use pkeys_core::Rights;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Domain;
use crate::region::guard::{Reading, Writing};
use crate::region::mapping::{MapError, Mapping};
use crate::sys::PAGE_BYTES;
use crate::window::{OpenError, Window};

/// What a file is mapped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileAccess {
    /// Reading only: no window lets anyone write. A descriptor that was opened for reading is enough.
    ReadOnly,
    /// Reading and writing; what is written reaches the file.
    ReadWrite,
}

/// The elements of a file, on pages of a domain.
///
/// The mapping is shared: writes reach the file and everyone else who has it mapped. Elements are as many as the file had
/// when it was mapped; what a longer file gets later is not seen.
pub struct FileRegion<T> {
    mapping: Mapping,
    first: NonNull<T>,
    len: usize,
    /// Kept to ask for the file's length.
    file: File,
    access: FileAccess,
    _owns: PhantomData<T>,
}

// SAFETY: a region owns its elements; sending it sends them.
unsafe impl<T: Send> Send for FileRegion<T> {}
// SAFETY: through a shared region elements are only read.
unsafe impl<T: Sync> Sync for FileRegion<T> {}

impl Domain {
    /// Maps a whole file, `MAP_SHARED`, as a region of as many elements as it holds.
    ///
    /// The region keeps a descriptor of its own; `file` may be closed.
    ///
    /// # Errors
    ///
    /// [`MapError::NotAFile`] for anything but a regular file, [`MapError::FileTooShort`] for less than one element,
    /// [`MapError::Os`] with what `mmap(2)` answered: `EACCES` when `file` was not opened for `access`.
    ///
    /// # Safety
    ///
    /// 1. While a reference into the file exists ([`read`](FileRegion::read), [`write`](FileRegion::write),
    ///    [`get`](FileRegion::get), [`get_mut`](FileRegion::get_mut)), nobody writes its bytes by another way: no
    ///    other process, no other mapping, no `write(2)`. [`load`](FileRegion::load) and [`store`](FileRegion::store)
    ///    make no reference.
    /// 2. Nobody shortens the file during an access: that access ends in SIGBUS.
    pub unsafe fn map_file<T: FromBytes>(
        &self,
        file: &File,
        access: FileAccess,
    ) -> Result<FileRegion<T>, MapError> {
        if align_of::<T>() > PAGE_BYTES {
            return Err(MapError::Alignment {
                align_bytes: align_of::<T>(),
            });
        }
        let len = elements::<T>(file)?;
        let len_bytes = len * size_of::<T>();
        let file = file.try_clone().map_err(MapError::os("fcntl", len_bytes))?;
        let mapping = Mapping::file(
            &self.inner,
            len_bytes,
            type_name::<T>(),
            file.as_fd(),
            access == FileAccess::ReadWrite,
        )?;
        Ok(FileRegion {
            first: mapping.base().cast(),
            mapping,
            len,
            file,
            access,
            _owns: PhantomData,
        })
    }
}

/// How many whole elements a file holds.
fn elements<T>(file: &File) -> Result<usize, MapError> {
    let metadata = file.metadata().map_err(MapError::os("statx", 0))?;
    if !metadata.is_file() {
        return Err(MapError::NotAFile);
    }
    let file_bytes = metadata.len();
    let element_bytes = size_of::<T>();
    let too_large = || MapError::TooLarge {
        count: usize::MAX,
        element_bytes,
    };
    let len = usize::try_from(file_bytes)
        .map_err(|_| too_large())?
        .checked_div(element_bytes)
        .ok_or(MapError::ZeroLength)?;
    if len == 0 {
        return Err(MapError::FileTooShort {
            file_bytes,
            element_bytes,
        });
    }
    Ok(len)
}

impl<T> FileRegion<T> {
    /// How many elements the region has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no elements: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the file was mapped for.
    #[must_use]
    pub fn access(&self) -> FileAccess {
        self.access
    }

    /// The name of the domain that the region is in.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        &self.mapping.domain.name
    }

    /// The address of the first element. Touching memory there takes an open window.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.first.as_ptr()
    }

    /// `int msync(void addr[.length], size_t length, MS_SYNC)`, `msync(2)`: waits until what was written is on the
    /// file's storage. It takes no window.
    ///
    /// # Errors
    ///
    /// What the kernel answered, `EIO` above all.
    #[doc(alias = "msync")]
    pub fn sync(&self) -> io::Result<()> {
        let base = self.mapping.base().as_ptr().cast();
        // SAFETY: the range is this region's mapping; the call writes to storage and changes no memory.
        match unsafe { libc::msync(base, self.mapping.len_bytes(), libc::MS_SYNC) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Checks that the file has what is mapped, and may be used for these rights.
    fn check(&self, rights: Rights) -> Result<(), OpenError> {
        if rights > Rights::ReadOnly && self.access == FileAccess::ReadOnly {
            return Err(OpenError::ReadOnlyFile);
        }
        let mapped_bytes = (self.len * size_of::<T>()) as u64;
        let file_bytes = self.file.metadata().map_err(OpenError::os("statx"))?.len();
        if file_bytes < mapped_bytes {
            return Err(OpenError::Truncated {
                mapped_bytes,
                file_bytes,
            });
        }
        Ok(())
    }

    fn open(&self, rights: Rights) -> Result<Window<'_>, OpenError> {
        self.check(rights)?;
        Window::open(&self.mapping.domain, rights)
    }

    /// The address of an element, which exists.
    fn element(&self, index: usize) -> NonNull<T> {
        assert!(
            index < self.len,
            "element {index} of a file region of {}",
            self.len
        );
        // SAFETY: the element lies in the mapping.
        unsafe { self.first.add(index) }
    }
}

impl<T: FromBytes> FileRegion<T> {
    /// Copies an element out of the file, whoever writes it meanwhile; the copy is then of some bytes before and some
    /// after.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// When there is no such element.
    pub fn load(&self, index: usize) -> Result<T, OpenError> {
        let element = self.element(index);
        let _window = self.open(Rights::ReadOnly)?;
        // SAFETY: the element is mapped, aligned and open; whatever bytes are there are a value of the type.
        Ok(unsafe { element.read_volatile() })
    }
}

impl<T: FromBytes + IntoBytes> FileRegion<T> {
    /// Copies an element into the file, whoever reads it meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    ///
    /// # Panics
    ///
    /// When there is no such element.
    pub fn store(&mut self, index: usize, value: T) -> Result<(), OpenError> {
        let element = self.element(index);
        let _window = self.open(Rights::ReadWrite)?;
        // SAFETY: the element is mapped for writing, aligned, open, and borrowed by nobody here.
        unsafe { element.write_volatile(value) };
        Ok(())
    }

    /// Opens a window for writing and reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// [`OpenError::ReadOnlyFile`] when the file was mapped for reading, [`OpenError::Truncated`] when it has become
    /// shorter; else as for [`Domain::open`].
    pub fn write(&mut self) -> Result<Writing<'_, T>, OpenError> {
        let window = self.open(Rights::ReadWrite)?;
        // SAFETY: the elements are mapped for as long as the region is borrowed (1), exclusively (2: here, and elsewhere
        // by the word of who mapped the file), and the window on their domain gives both rights (3).
        Ok(unsafe { Writing::new(window, self.first, self.len) })
    }

    /// The elements, for as long as both the region and a window that gives read and write are borrowed.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write); [`OpenError::WrongDomain`] and [`OpenError::InsufficientRights`] when the window
    /// does not serve.
    pub fn get_mut<'a>(&'a mut self, window: &'a Window<'_>) -> Result<&'a mut [T], OpenError> {
        window.check(&self.mapping.domain, Rights::ReadWrite)?;
        self.check(Rights::ReadWrite)?;
        // SAFETY: `len` elements are mapped from `first` on, any bytes are values, and they are borrowed exclusively
        // (elsewhere by the word of who mapped the file); the window is open and borrowed as long.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) })
    }
}

impl<T: FromBytes + Immutable> FileRegion<T> {
    /// Opens a window for reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// [`OpenError::Truncated`] when the file has become shorter; else as for [`Domain::open`].
    pub fn read(&self) -> Result<Reading<'_, T>, OpenError> {
        let window = self.open(Rights::ReadOnly)?;
        // SAFETY: the elements are mapped for as long as the region is borrowed (1), nobody writes them meanwhile (2: here,
        // and elsewhere by the word of who mapped the file), and the window on their domain lets them be read (3).
        Ok(unsafe { Reading::new(window, self.first, self.len) })
    }

    /// The elements, for as long as both the region and a window are borrowed.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read); [`OpenError::WrongDomain`] when the window is on another domain.
    pub fn get<'a>(&'a self, window: &'a Window<'_>) -> Result<&'a [T], OpenError> {
        window.check(&self.mapping.domain, Rights::ReadOnly)?;
        self.check(Rights::ReadOnly)?;
        // SAFETY: `len` elements are mapped from `first` on, any bytes are values, and nobody writes them meanwhile
        // (elsewhere by the word of who mapped the file); the window is open and borrowed as long.
        Ok(unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) })
    }
}

impl<T> fmt::Debug for FileRegion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRegion")
            .field("domain", &self.domain_name())
            .field("first", &self.first)
            .field("len", &self.len)
            .field("access", &self.access)
            .finish()
    }
}
