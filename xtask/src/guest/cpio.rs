//! Writes the archive that Linux takes as its first file system: cpio, "newc".
//!
//! Every entry is a header of 110 bytes in hexadecimal, the name with a NUL byte, and the data, both padded to four bytes.
//! (Linux: `Documentation/driver-api/early-userspace/buffer-format.rst`.) Numbers have eight digits, so that a file may
//! have at most 4 GiB - 1.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

/// A directory that all may read.
const DIRECTORY: u32 = 0o040_755;

/// A file that all may read and run.
const PROGRAM: u32 = 0o100_755;

/// The kinds of entries that come with permissions of their own.
const FOLDER_KIND: u32 = 0o040_000;
const FILE_KIND: u32 = 0o100_000;

/// A symbolic link; its permissions mean nothing.
const LINK: u32 = 0o120_777;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written.
#[derive(Debug)]
pub(super) struct Archive<W: Write> {
    out: W,
    entries: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            entries: 0,
            folders: BTreeSet::new(),
        }
    }

    /// Adds a file of `len_bytes` at an absolute path, and the folders above it.
    ///
    /// It is executable: a program is, and nothing minds.
    pub(super) fn file(&mut self, path: &str, len_bytes: u64, data: impl Read) -> io::Result<()> {
        self.contents(path, PROGRAM, len_bytes, data)
    }

    /// The same with the permissions given.
    pub(super) fn file_as(
        &mut self,
        path: &str,
        permissions: u32,
        len_bytes: u64,
        data: impl Read,
    ) -> io::Result<()> {
        self.contents(path, FILE_KIND | permissions, len_bytes, data)
    }

    /// Adds a symbolic link at an absolute path, and the folders above it.
    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.contents(path, LINK, target.len() as u64, target.as_bytes())
    }

    /// Adds a folder with the permissions given, and the folders above it.
    pub(super) fn folder(&mut self, path: &str, permissions: u32) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        self.folders_above(path)?;
        if self.folders.insert(path.to_owned()) {
            self.header(path, FOLDER_KIND | permissions, 0)?;
        }
        Ok(())
    }

    /// Adds what has contents.
    fn contents(
        &mut self,
        path: &str,
        mode: u32,
        len_bytes: u64,
        data: impl Read,
    ) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        self.folders_above(path)?;
        let len = u32::try_from(len_bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, path))?;
        self.header(path, mode, len)?;
        let copied = io::copy(&mut data.take(len_bytes), &mut self.out)?;
        if copied != len_bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, path));
        }
        self.pad(copied)
    }

    /// Adds the folders above `path` that are not there yet.
    fn folders_above(&mut self, path: &str) -> io::Result<()> {
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            if self.folders.insert(folder.to_owned()) {
                self.header(folder, DIRECTORY, 0)?;
            }
        }
        Ok(())
    }

    /// Ends the archive and gives the writer back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.header(TRAILER, 0, 0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// A header, with the name and its padding.
    fn header(&mut self, name: &str, mode: u32, len: u32) -> io::Result<()> {
        self.entries += 1;
        let name_len = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let links = 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            len,
            0,
            0,
            0,
            0,
            name_len,
            0,
        ];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        write!(self.out, "{name}\0")?;
        self.pad(110 + u64::from(name_len))
    }

    /// Fills up to four bytes after `written` of them.
    fn pad(&mut self, written: u64) -> io::Result<()> {
        let missing = written.next_multiple_of(4) - written;
        io::copy(&mut io::repeat(0).take(missing), &mut self.out).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::{Archive, DIRECTORY, PROGRAM};
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Name, mode, data.
    type Entry = (String, u32, Vec<u8>);

    /// A reader written from the format's description alone.
    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut at = 0_usize;
        let mut take = |n: usize| {
            let (head, rest) = bytes.split_at(n);
            bytes = rest;
            at += n;
            (head.to_vec(), at)
        };
        loop {
            assert_eq!(take(6).0, b"070701");
            let mut fields = [0_u32; 13];
            for field in &mut fields {
                let (digits, _) = take(8);
                let digits = String::from_utf8(digits).unwrap();
                *field = u32::from_str_radix(&digits, 16).unwrap();
            }
            let (mut name, end) = take(fields[11] as usize);
            assert_eq!(name.pop(), Some(0));
            take(end.next_multiple_of(4) - end);
            let (data, end) = take(fields[6] as usize);
            take(end.next_multiple_of(4) - end);
            let name = String::from_utf8(name).unwrap();
            if name == "TRAILER!!!" {
                assert!(bytes.is_empty());
                return entries;
            }
            entries.push((name, fields[1], data));
        }
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        for (path, data) in files {
            archive.file(path, data.len() as u64, *data).unwrap();
        }
        archive.finish().unwrap()
    }

    #[test]
    fn files_and_their_folders_are_read_back() {
        let files: [(&str, &[u8]); 4] = [
            ("/init", b"1"),
            ("/tests/debug/a", b"four"),
            ("/tests/debug/b", b""),
            ("/tests/list", b"seven b"),
        ];
        let folder = |name: &str| (name.to_owned(), DIRECTORY, vec![]);
        let file = |name: &str, data: &[u8]| (name.to_owned(), PROGRAM, data.to_vec());
        assert_eq!(
            read(&archive(&files)),
            [
                file("init", b"1"),
                folder("tests"),
                folder("tests/debug"),
                file("tests/debug/a", b"four"),
                file("tests/debug/b", b""),
                file("tests/list", b"seven b"),
            ]
        );
        assert_eq!(read(&archive(&[])), []);
    }

    #[test]
    fn permissions_links_and_empty_folders_are_read_back() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("/tmp", 0o1777).unwrap();
        archive.file_as("/tmp/a", 0o4711, 1, &b"x"[..]).unwrap();
        archive.link("/lib", "usr/lib").unwrap();
        archive.folder("/tmp", 0o700).unwrap();
        let entries = read(&archive.finish().unwrap());
        let entry = |name: &str, mode, data: &[u8]| (name.to_owned(), mode, data.to_vec());
        assert_eq!(
            entries,
            [
                entry("tmp", 0o041_777, b""),
                entry("tmp/a", 0o104_711, b"x"),
                entry("lib", 0o120_777, b"usr/lib"),
            ]
        );
    }

    #[test]
    fn every_length_is_padded_right() {
        for len in 0..9 {
            let (name, data) = ("n".repeat(len + 1), vec![7; len]);
            let entries = read(&archive(&[(&name, &data), ("/z", b"z")]));
            assert_eq!(entries[0], (name, PROGRAM, data));
            assert_eq!(entries[1].0, "z");
        }
    }

    #[test]
    fn a_file_that_shrinks_or_is_too_long_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file("/a", 5, &b"four"[..]).is_err());
        assert!(archive.file("/b", 1 << 32, std::io::repeat(0)).is_err());
    }

    /// Where cpio(1) is installed it must agree; where it is not, the reader above is the only witness.
    #[test]
    fn cpio_lists_what_was_written() {
        let child = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("cpio is not installed: nothing to compare with");
            return;
        };
        let bytes = archive(&[("/a/b", b"data"), ("/c", b"")]);
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a\na/b\nc\n");
    }
}
