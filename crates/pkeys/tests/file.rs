//! Mapped files as regions.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{alone, domain, is_closed, leaves_nothing_behind};
use pkeys::{Domain, FileAccess, FileRegion, MapError, OpenError, Rights};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A file of this test's own, gone with the value.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, contents: &[u8]) -> Self {
        let name = format!("pkeys-file-test-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, contents).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn open(&self) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.0)
            .unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Maps a file that only the calling test writes, never while it holds a reference into it.
fn map<T: FromBytes>(
    domain: &Domain,
    file: &File,
    access: FileAccess,
) -> Result<FileRegion<T>, MapError> {
    // SAFETY: the files are the tests' own, and written or shortened only between accesses (1, 2).
    unsafe { domain.map_file(file, access) }
}

#[test]
fn what_is_written_reaches_the_file_and_what_is_in_it_is_read() {
    let temporary = Temporary::new("round", &[1; 4096 * 3]);
    let domain = domain("file");
    let mut region = map::<u32>(&domain, &temporary.open(), FileAccess::ReadWrite).unwrap();
    assert_eq!(region.len(), 3_072);
    assert_eq!(region.read().unwrap()[3_071], 0x0101_0101);
    region.write().unwrap()[3_071] = 0x0202_0202;
    {
        let window = domain.open(Rights::ReadWrite).unwrap();
        region.get_mut(&window).unwrap()[0] = 7;
        assert_eq!(region.get(&window).unwrap()[0], 7);
    }
    region.sync().unwrap();
    let bytes = std::fs::read(temporary.path()).unwrap();
    assert_eq!(bytes[..5], [7, 0, 0, 0, 1]);
    assert_eq!(bytes[4096 * 3 - 4..], [2; 4]);
}

#[test]
fn a_file_is_closed_without_a_window() {
    let temporary = Temporary::new("closed", &[1; 100]);
    let domain = domain("file");
    for access in [FileAccess::ReadOnly, FileAccess::ReadWrite] {
        let region = map::<u8>(&domain, &temporary.open(), access).unwrap();
        let addr = region.as_ptr().addr();
        assert!(is_closed(addr));
        let guard = region.read().unwrap();
        assert!(!is_closed(addr));
        drop(guard);
        assert!(is_closed(addr));
    }
}

#[test]
fn elements_are_copied_to_and_from_a_file_that_others_write() {
    let temporary = Temporary::new("volatile", &[0; 64]);
    let file = temporary.open();
    let mut region = map::<[u64; 2]>(&domain("file"), &file, FileAccess::ReadWrite).unwrap();
    file.write_all_at(&[9; 16], 16).unwrap();
    assert_eq!(region.load(1).unwrap(), [0x0909_0909_0909_0909; 2]);
    region.store(3, [1, 2]).unwrap();
    assert_eq!(region.load(3).unwrap(), [1, 2]);
    let mut bytes = [0; 16];
    file.read_exact_at(&mut bytes, 48).unwrap();
    assert_eq!((bytes[0], bytes[8]), (1, 2));
}

#[test]
#[should_panic(expected = "element 4 of a file region of 4")]
fn an_element_beyond_the_end_is_a_panic() {
    let temporary = Temporary::new("beyond", &[0; 64]);
    let region = map::<[u64; 2]>(&domain("file"), &temporary.open(), FileAccess::ReadOnly);
    let _ = region.unwrap().load(4);
}

#[test]
fn only_regular_files_are_mapped() {
    let domain = domain("kinds");
    let (reader, _writer) = io::pipe().unwrap();
    for file in [
        File::open(std::env::temp_dir()).unwrap(),
        File::open("/dev/null").unwrap(),
        File::from(OwnedFd::from(reader)),
    ] {
        let error = map::<u8>(&domain, &file, FileAccess::ReadOnly).unwrap_err();
        assert!(matches!(error, MapError::NotAFile), "{error:?}");
    }
}

#[test]
fn a_file_has_at_least_one_element() {
    let domain = domain("short");
    for (name, len, expected) in [
        ("empty", 0, None),
        ("seven", 7, None),
        ("many", 31, Some(3)),
    ] {
        let temporary = Temporary::new(name, &vec![0; len]);
        let region = map::<u64>(&domain, &temporary.open(), FileAccess::ReadOnly);
        match (region, expected) {
            (Ok(region), Some(elements)) => assert_eq!(region.len(), elements),
            (
                Err(MapError::FileTooShort {
                    file_bytes,
                    element_bytes,
                }),
                None,
            ) => assert_eq!((file_bytes, element_bytes), (len as u64, 8)),
            (other, _) => panic!("{len} bytes: {other:?}"),
        }
    }
}

#[test]
fn elements_have_a_size_and_at_most_the_alignment_of_a_page() {
    #[derive(Debug, FromBytes)]
    #[repr(align(8192))]
    struct Aligned([u8; 8192]);

    let domain = domain("elements");
    let temporary = Temporary::new("elements", &[0; 16_384]);
    let file = temporary.open();
    let error = map::<()>(&domain, &file, FileAccess::ReadOnly).unwrap_err();
    assert!(matches!(error, MapError::ZeroLength), "{error:?}");
    let error = map::<Aligned>(&domain, &file, FileAccess::ReadOnly).unwrap_err();
    let MapError::Alignment { align_bytes } = error else {
        panic!("{error:?}");
    };
    assert_eq!(align_bytes, 8192);
}

#[test]
fn a_descriptor_must_allow_what_is_asked() {
    let temporary = Temporary::new("rights", &[0; 64]);
    let domain = domain("rights");
    let read_only = File::open(temporary.path()).unwrap();
    let error = map::<u64>(&domain, &read_only, FileAccess::ReadWrite).unwrap_err();
    let MapError::Os { call, source, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((call, source.raw_os_error()), ("mmap", Some(libc::EACCES)));

    let mut region = map::<u64>(&domain, &read_only, FileAccess::ReadOnly).unwrap();
    let window = domain.open(Rights::ReadWrite).unwrap();
    assert_eq!(region.get(&window).unwrap()[7], 0);
    for error in [
        region.write().unwrap_err(),
        region.get_mut(&window).unwrap_err(),
        region.store(0, 1).unwrap_err(),
    ] {
        assert!(matches!(error, OpenError::ReadOnlyFile), "{error:?}");
    }
}

/// The common case: the file was shortened earlier. An access would be a SIGBUS.
#[test]
fn a_truncated_file_is_refused_until_it_is_whole_again() {
    let temporary = Temporary::new("truncated", &[5; 8200]);
    let domain = domain("truncated");
    let mut region = map::<u64>(&domain, &temporary.open(), FileAccess::ReadWrite).unwrap();
    // The region asks through a descriptor of its own.
    temporary.open().set_len(8199).unwrap();
    let window = domain.open(Rights::ReadWrite).unwrap();
    for error in [
        region.read().unwrap_err(),
        region.write().unwrap_err(),
        region.get(&window).unwrap_err(),
        region.get_mut(&window).unwrap_err(),
        region.load(0).unwrap_err(),
        region.store(0, 1).unwrap_err(),
    ] {
        let OpenError::Truncated {
            mapped_bytes,
            file_bytes,
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((mapped_bytes, file_bytes), (8200, 8199));
    }
    temporary.open().set_len(100_000).unwrap();
    assert_eq!(region.read().unwrap()[0], 0x0505_0505_0505_0505);
    assert_eq!(region.len(), 1025, "as it was mapped");
}

#[test]
fn a_window_must_be_of_the_domain_and_give_the_rights() {
    let temporary = Temporary::new("windows", &[0; 64]);
    let (ours, other) = (domain("ours"), domain("other"));
    let mut region = map::<u64>(&ours, &temporary.open(), FileAccess::ReadWrite).unwrap();
    let window = other.open(Rights::ReadWrite).unwrap();
    for error in [
        region.get(&window).unwrap_err(),
        region.get_mut(&window).unwrap_err(),
    ] {
        assert!(matches!(error, OpenError::WrongDomain { .. }), "{error:?}");
    }
    let window = ours.open(Rights::ReadOnly).unwrap();
    assert!(region.get(&window).is_ok());
    let error = region.get_mut(&window).unwrap_err();
    assert!(
        matches!(error, OpenError::InsufficientRights { .. }),
        "{error:?}"
    );
}

/// A type of the file's own, as a database would have.
#[derive(Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Order {
    id: u64,
    cents: i64,
}

#[test]
fn records_of_a_type_of_ones_own_are_mapped() {
    let temporary = Temporary::new("orders", &[0; 1600]);
    let mut orders = map(&domain("orders"), &temporary.open(), FileAccess::ReadWrite).unwrap();
    orders.write().unwrap()[99] = Order { id: 99, cents: -1 };
    assert_eq!(orders.load(99).unwrap(), Order { id: 99, cents: -1 });
}

#[test]
fn file_regions_leave_nothing_behind() {
    alone(
        "file_regions_leave_nothing_behind",
        |_| {},
        || {
            leaves_nothing_behind(|| {
                let temporary = Temporary::new("leak", &[0; 10_000]);
                let domain = domain("files");
                let file = temporary.open();
                let _regions: Vec<FileRegion<u8>> = (0..10)
                    .map(|_| map(&domain, &file, FileAccess::ReadWrite).unwrap())
                    .collect();
                let read_only = File::open(temporary.path()).unwrap();
                map::<u8>(&domain, &read_only, FileAccess::ReadWrite).unwrap_err();
                map::<[u8; 20_000]>(&domain, &file, FileAccess::ReadWrite).unwrap_err();
            });
        },
    );
}
