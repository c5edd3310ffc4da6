//! What `/proc/self` says and does: memory past the page tables, and the list of mappings.

use std::fs::{File, read_to_string};
use std::io;
use std::os::unix::fs::FileExt as _;

/// Reads a byte through `/proc/self/mem`.
pub(super) fn mem_read(addr: u64) -> Result<u8, i32> {
    let mut byte = [0];
    // Opened each time: the file is of the address space that it was opened in, which a fork changes.
    let read = File::open("/proc/self/mem").and_then(|mem| mem.read_at(&mut byte, addr));
    match read {
        Ok(1) => Ok(byte[0]),
        other => Err(errno(other)),
    }
}

/// Writes a byte through `/proc/self/mem`.
pub(super) fn mem_write(addr: u64, value: u8) -> Result<(), i32> {
    let open = File::options().write(true).open("/proc/self/mem");
    match open.and_then(|mem| mem.write_at(&[value], addr)) {
        Ok(1) => Ok(()),
        other => Err(errno(other)),
    }
}

/// The error number; 0 for a transfer of nothing.
fn errno(result: io::Result<usize>) -> i32 {
    result.err().and_then(|err| err.raw_os_error()).unwrap_or(0)
}

/// The mapping that holds an address: protection and key.
pub(super) fn smaps(addr: u64) -> Option<(u32, Option<u32>)> {
    find(&read_to_string("/proc/self/smaps").ok()?, addr)
}

fn find(smaps: &str, addr: u64) -> Option<(u32, Option<u32>)> {
    let mut lines = smaps.lines();
    let protection = lines.by_ref().find_map(|line| header(line, addr))?;
    // A mapping's lines go on to the next line that starts another.
    let own = lines.take_while(|line| range(line).is_none());
    let key = own
        .filter_map(|line| line.strip_prefix("ProtectionKey:"))
        .find_map(|number| number.trim().parse().ok());
    Some((protection, key))
}

/// The protection on a mapping's first line, if the mapping holds the address.
fn header(line: &str, addr: u64) -> Option<u32> {
    let (start, end) = range(line)?;
    let bits = line.split(' ').nth(1)?.bytes().map(|letter| match letter {
        b'r' => libc::PROT_READ,
        b'w' => libc::PROT_WRITE,
        b'x' => libc::PROT_EXEC,
        _ => libc::PROT_NONE,
    });
    let protection = bits.fold(0, |bits, bit| bits | bit.cast_unsigned());
    (start..end).contains(&addr).then_some(protection)
}

/// The addresses on a mapping's first line.
fn range(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::find;

    const SMAPS: &str = "\
10000000000-10000002000 rw-p 00000000 00:00 0
Size:                  8 kB
ProtectionKey:         3
10000002000-10000003000 --xs 00000000 00:00 0     /a-b c
Size:                  4 kB
10000003000-10000004000 r--p 00000000 00:00 0
ProtectionKey:         0
VmFlags: rd mr
";

    #[test]
    fn a_mapping_is_found_with_its_own_lines_only() {
        assert_eq!(find(SMAPS, 0x100_0000_0000), Some((3, Some(3))));
        assert_eq!(find(SMAPS, 0x100_0000_1fff), Some((3, Some(3))));
        assert_eq!(find(SMAPS, 0x100_0000_2000), Some((4, None)));
        assert_eq!(find(SMAPS, 0x100_0000_3800), Some((1, Some(0))));
        assert_eq!(find(SMAPS, 0x100_0000_4000), None);
        assert_eq!(find(SMAPS, 0), None);
    }

    #[test]
    fn this_process_has_a_stack_and_no_first_page() {
        let local = 0_u8;
        let (protection, _) = super::smaps((&raw const local).addr() as u64).unwrap();
        assert_eq!(protection, 3);
        assert_eq!(super::smaps(0), None);
    }
}
