//! What `/proc/self` says of a thread and of a page, now. "Now" is later than the fault: another thread may have changed
//! the page since, and a report says so.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};

use crate::fault::report::clock;
use crate::fault::report::maps::{self, Mapping};

/// How long the search for a page's key may take. The kernel walks the page tables of every mapping on the way.
const KEY_SEARCH_NS: u64 = 250_000_000;

/// A page as it is while the report is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageNow {
    /// The mapping's permissions, such as `rw-p`; `None` when nothing is mapped there any more.
    pub(super) permissions: Option<String>,
    /// The key; `None` when it was not found in time, or the kernel has no keys.
    pub(super) pkey: Option<u8>,
}

impl PageNow {
    /// Looks at the page of an address. The key is worth a search only where keys protect it.
    pub(super) fn of(addr: usize, mappings: &[Mapping], has_key: bool) -> Self {
        let mapping = maps::find(mappings, addr);
        Self {
            permissions: mapping.map(|mapping| mapping.permissions().to_owned()),
            pkey: if has_key { pkey_of(addr) } else { None },
        }
    }
}

/// The `ProtectionKey` line of `/proc/self/smaps` (`proc_pid_smaps(5)`).
fn pkey_of(addr: usize) -> Option<u8> {
    let until = clock::monotonic_ns() + KEY_SEARCH_NS;
    let smaps = BufReader::new(File::open("/proc/self/smaps").ok()?);
    pkey_in(smaps, addr, || clock::monotonic_ns() < until)
}

fn pkey_in(smaps: impl BufRead, addr: usize, may_go_on: impl Fn() -> bool) -> Option<u8> {
    let mut is_inside = false;
    for line in smaps.split(b'\n') {
        let line = line.ok()?;
        if let Some(mapping) = maps::parse(&line) {
            if is_inside || mapping.start > addr || !may_go_on() {
                return None;
            }
            is_inside = mapping.contains(addr);
        } else if is_inside && let Some(value) = line.strip_prefix(b"ProtectionKey:") {
            return str::from_utf8(value).ok()?.trim().parse().ok();
        }
    }
    None
}

/// When a thread began, in clock ticks since boot: field 22 of its `stat` (`proc_pid_stat(5)`).
pub(super) fn thread_start_ticks(tid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/self/task/{tid}/stat")).ok()?;
    start_ticks(&stat)
}

fn start_ticks(stat: &[u8]) -> Option<u64> {
    // Field 2 is the name in parentheses, which may hold blanks and parentheses itself; field 3 follows the last one.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let fields = str::from_utf8(stat.get(after_name..)?).ok()?;
    fields.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// Whether a thread that began at `thread_ticks` is older than a domain made at `domain_ticks`; `None` within the same tick.
pub(super) fn is_older(thread_ticks: u64, domain_ticks: u64) -> Option<bool> {
    (thread_ticks != domain_ticks).then_some(thread_ticks < domain_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 rw-p 00000000 00:00 0                          [heap]
Size:                  8 kB
ProtectionKey:         3
VmFlags: rd wr mr mw me ac
4000-5000 rw-p 00000000 00:00 0
Size:                  4 kB
VmFlags: rd wr mr mw me ac
6000-7000 rw-p 00000000 00:00 0
ProtectionKey:        15
";

    #[test]
    fn the_key_is_that_of_the_mapping() {
        let key = |addr| pkey_in(SMAPS.as_bytes(), addr, || true);
        assert_eq!(key(0x1000), Some(3));
        assert_eq!(key(0x2fff), Some(3));
        assert_eq!(key(0x3000), None, "between two mappings");
        assert_eq!(key(0x4000), None, "a kernel without keys");
        assert_eq!(key(0x6800), Some(15));
        assert_eq!(key(0x7000), None);
        assert_eq!(
            pkey_in(SMAPS.as_bytes(), 0x6800, || false),
            None,
            "too late"
        );
    }

    #[test]
    fn the_page_is_looked_up_where_it_is() {
        let mappings = maps::read().unwrap();
        let local = 0_u8;
        let page = PageNow::of((&raw const local).addr(), &mappings, true);
        assert_eq!(page.permissions.as_deref(), Some("rw-p"));
        // On a kernel with keys the stack has key 0, else there is none to find.
        assert!(matches!(page.pkey, None | Some(0)));
        let nothing = PageNow {
            permissions: None,
            pkey: None,
        };
        assert_eq!(PageNow::of(8, &mappings, true), nothing);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (3..=30).map(|field| format!("{}", field * 10)).collect();
        let stat = format!("42 (a) b (c) {}", fields.join(" "));
        assert_eq!(start_ticks(stat.as_bytes()), Some(220));
        assert_eq!(start_ticks(b"42 (a) 1 2"), None);
        assert_eq!(start_ticks(b""), None);
    }

    #[test]
    fn a_thread_begins_when_it_is_made() {
        let before = clock::clock_ticks();
        let ticks = std::thread::spawn(|| {
            // SAFETY: takes nothing.
            #[allow(unsafe_code, reason = "gettid(2)")]
            let tid = unsafe { libc::gettid() };
            thread_start_ticks(tid)
        });
        let ticks = ticks.join().unwrap().unwrap();
        assert!((before..=clock::clock_ticks()).contains(&ticks));
        assert_eq!(thread_start_ticks(i32::MAX), None);
    }

    #[test]
    fn the_same_tick_decides_nothing() {
        assert_eq!(is_older(1, 2), Some(true));
        assert_eq!(is_older(2, 1), Some(false));
        assert_eq!(is_older(2, 2), None);
    }
}
