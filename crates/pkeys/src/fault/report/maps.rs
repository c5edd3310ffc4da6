//! `/proc/self/maps`: what is mapped where (`proc_pid_maps(5)`). Read without the loader's lock, which the thread that
//! faulted may hold.

use std::io;

/// One mapping of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    /// First address.
    pub(super) start: usize,
    /// First address behind it.
    pub(super) end: usize,
    /// As the kernel writes them, such as `rw-p`.
    pub(super) permissions: [u8; 4],
    /// Where in its file it starts, in bytes.
    pub(super) file_offset: u64,
    /// The path of its file, or a name in brackets, or nothing.
    pub(super) path: Vec<u8>,
}

impl Mapping {
    /// Whether it contains an address.
    pub(super) fn contains(&self, addr: usize) -> bool {
        (self.start..self.end).contains(&addr)
    }

    /// Whether code in it runs.
    pub(super) fn is_executable(&self) -> bool {
        self.permissions[2] == b'x'
    }

    /// The permissions as text.
    pub(super) fn permissions(&self) -> &str {
        str::from_utf8(&self.permissions).unwrap_or("????")
    }
}

/// All mappings of this process, by address.
pub(super) fn read() -> io::Result<Vec<Mapping>> {
    let text = std::fs::read("/proc/self/maps")?;
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(parse)
        .collect())
}

/// The mapping that contains an address.
pub(super) fn find(mappings: &[Mapping], addr: usize) -> Option<&Mapping> {
    let after = mappings.partition_point(|mapping| mapping.start <= addr);
    let mapping = mappings.get(after.checked_sub(1)?)?;
    mapping.contains(addr).then_some(mapping)
}

/// A line such as `7f5c-7f5d r-xp 00001000 fe:00 1234   /usr/lib/libm.so`. `smaps` has the same ones as headings.
pub(super) fn parse(line: &[u8]) -> Option<Mapping> {
    let (range, rest) = field(line)?;
    let (permissions, rest) = field(rest)?;
    let (file_offset, rest) = field(rest)?;
    let (_device, rest) = field(rest)?;
    let (_inode, rest) = field(rest)?;
    let dash = range.iter().position(|&byte| byte == b'-')?;
    Some(Mapping {
        start: hex(&range[..dash])?.try_into().ok()?,
        end: hex(&range[dash + 1..])?.try_into().ok()?,
        permissions: permissions.try_into().ok()?,
        file_offset: hex(file_offset)?,
        path: unescape(rest),
    })
}

/// The text up to the next blank, and what follows the blanks.
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(text.len());
    let rest = text[end..].trim_ascii_start();
    (end > 0).then_some((&text[..end], rest))
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// The kernel writes a line break in a path as `\012`; nothing else is changed.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(tail) => {
                plain.push(b'\n');
                rest = tail;
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = b"7f0000001000-7f0000003000 r-xp 00002000 fe:00 1234            /a b/lib\\012.so (deleted)";
        let expected = Mapping {
            start: 0x7f00_0000_1000,
            end: 0x7f00_0000_3000,
            permissions: *b"r-xp",
            file_offset: 0x2000,
            path: b"/a b/lib\n.so (deleted)".to_vec(),
        };
        assert_eq!(parse(line), Some(expected));
        let anonymous = parse(b"1000-2000 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!(anonymous.path, b"");
        assert!(!anonymous.is_executable());
        for line in [
            "",
            "Size: 4 kB",
            "1000 rw-p 0 0 0",
            "1000-zz rw-p 0 00:00 0",
            "1-2 rw 0 0 0",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    /// The addresses of things that this test knows.
    #[test]
    fn code_stack_and_heap_are_found() {
        let mappings = read().unwrap();
        assert!(mappings.is_sorted_by_key(|mapping| mapping.start));
        let code = find(&mappings, (read as *const ()).addr()).unwrap();
        assert!(code.is_executable());
        let exe = std::env::current_exe().unwrap();
        assert_eq!(code.path, exe.as_os_str().as_encoded_bytes());
        let local = 0_u8;
        let stack = find(&mappings, (&raw const local).addr()).unwrap();
        assert_eq!(stack.permissions(), "rw-p");
        assert_eq!(find(&mappings, 0), None);
        assert_eq!(find(&mappings, usize::MAX), None);
    }
}
