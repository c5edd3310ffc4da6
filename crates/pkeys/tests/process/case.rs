//! What a case is, how it says what it is about to do, and when it has passed.

use core::fmt::Write as _;

use pkeys::{Backend, Domain, DomainBuilder, Rights, WithoutKeys};

use crate::tracer::{End, Record, Signal};

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) body: fn(),
    pub(crate) ends: Ends,
    /// Variables of the case's environment.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// What the case's output contains.
    pub(crate) says: &'static [&'static str],
}

/// What a case cannot do without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: runs with keys, and with the fallback where there are none.
    Nothing,
    /// Rights by thread: real keys.
    Keys,
}

/// How a case that passes ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// By returning: what it checks, it checks itself.
    Well,
    /// By a fault that it announced; see [`expect_fault`].
    Stopped,
    /// By this signal, announced or not.
    Signal(i32),
}

impl Case {
    pub(crate) const fn new(name: &'static str, body: fn()) -> Self {
        Self {
            name,
            needs: Needs::Nothing,
            body,
            ends: Ends::Well,
            env: &[],
            says: &[],
        }
    }

    /// The case needs keys.
    pub(crate) const fn keys(mut self) -> Self {
        self.needs = Needs::Keys;
        self
    }

    /// The case ends by the fault that it announces.
    pub(crate) const fn stopped(mut self) -> Self {
        self.ends = Ends::Stopped;
        self
    }

    pub(crate) const fn signal(mut self, signal: i32) -> Self {
        self.ends = Ends::Signal(signal);
        self
    }

    pub(crate) const fn env(mut self, env: &'static [(&'static str, &'static str)]) -> Self {
        self.env = env;
        self
    }

    /// The case's output contains each of these.
    pub(crate) const fn says(mut self, says: &'static [&'static str]) -> Self {
        self.says = says;
        self
    }
}

/// A builder that falls back to `mprotect(2)`: the cases are the same with both.
pub(crate) fn builder(name: &str) -> DomainBuilder<'_> {
    Domain::builder(name).without_keys(WithoutKeys::Mprotect)
}

/// A strict domain closed to all access.
pub(crate) fn domain(name: &str) -> Domain {
    builder(name).create().expect("a domain")
}

/// Announces the fault that an access to a domain's memory is about to take: code, key and address.
pub(crate) fn expect_fault(domain: &Domain, addr: *const u8) {
    match domain.backend() {
        Backend::Pkey => {
            let pkey = domain.pkey().expect("a key").get();
            expect_signal(libc::SIGSEGV, 4, Some(pkey), addr);
        }
        _ => expect_signal(libc::SIGSEGV, 2, None, addr),
    }
}

/// Announces a fault by its numbers.
pub(crate) fn expect_signal(signal: i32, si_code: i32, pkey: Option<u8>, addr: *const u8) {
    let pkey = pkey.map_or(-1, i32::from);
    println!("EXPECT {signal} {si_code} {pkey} {:#x}", addr.addr());
}

/// The calling thread's rights to a domain, from the register itself. With the fallback: what its pages allow.
pub(crate) fn rights_now(domain: &Domain) -> Option<Rights> {
    let (pku, _) = pkeys_arch::Pku::probe().ok()?;
    Some(pku.read().rights(domain.pkey()?))
}

/// Asserts the calling thread's rights; nothing to see with the fallback.
#[track_caller]
pub(crate) fn assert_rights(domain: &Domain, expected: Rights) {
    if let Some(rights) = rights_now(domain) {
        assert_eq!(rights, expected);
    }
}

/// Writes where a stray pointer points.
#[inline(never)]
pub(crate) fn stray_write<T>(addr: *mut T, value: T) {
    // SAFETY: mapped memory of the domain; that it is closed is the point.
    unsafe { addr.write_volatile(value) };
}

/// Reads where a stray pointer points.
#[inline(never)]
pub(crate) fn stray_read<T>(addr: *const T) -> T {
    // SAFETY: as above.
    unsafe { addr.read_volatile() }
}

/// Runs `body` in a forked child and gives how it ended.
pub(crate) fn in_child(body: impl FnOnce()) -> i32 {
    // SAFETY: the case's process has this thread and the library's own, which the child can do without.
    match unsafe { libc::fork() } {
        0 => {
            body();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) }
        }
        pid => {
            assert!(pid > 0);
            let mut status = 0;
            // SAFETY: waits for the child.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            status
        }
    }
}

/// A line of `/proc/self/smaps` about the mapping that contains an address, by the word that it starts with; what stands
/// behind that word.
pub(crate) fn smaps(addr: usize, word: &str) -> Option<String> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut is_it = false;
    for line in smaps.lines() {
        let range = line.split(' ').next()?.split_once('-');
        let ends = range.map(|(start, end)| [start, end].map(|end| usize::from_str_radix(end, 16)));
        if let Some([Ok(start), Ok(end)]) = ends {
            is_it = (start..end).contains(&addr);
        } else if let (true, Some(rest)) = (is_it, line.strip_prefix(word)) {
            return Some(rest.trim().to_owned());
        }
    }
    None
}

/// Whether the record is that of a case that passed.
pub(crate) fn judge(case: &Case, record: &Record) -> Result<(), String> {
    let expected = match case.ends {
        Ends::Well => End::Exit(0),
        Ends::Stopped => End::Signal(libc::SIGSEGV),
        Ends::Signal(signal) => End::Signal(signal),
    };
    if record.end != expected {
        return Err(format!("ended by {:?}, expected {expected:?}", record.end));
    }
    for words in case.says {
        if ![&record.out, &record.err]
            .iter()
            .any(|text| text.contains(words))
        {
            return Err(format!("the output does not say {words:?}"));
        }
    }
    let announced = announced(&record.out);
    if case.ends != Ends::Stopped {
        return Ok(());
    }
    let announced = announced.last().ok_or("no EXPECT line")?;
    let last = record.signals.last().ok_or("no signal was seen")?;
    if announced != last {
        let mut why = format!("died of {last:x?}, expected {announced:x?}; all signals:");
        for signal in &record.signals {
            let _ = write!(why, "\n  {signal:x?}");
        }
        return Err(why);
    }
    Ok(())
}

fn announced(output: &str) -> Vec<Signal> {
    output
        .lines()
        .filter_map(|line| {
            let mut fields = line.strip_prefix("EXPECT ")?.split(' ');
            let mut number = || fields.next()?.parse::<i32>().ok();
            let (signal, si_code, pkey) = (number()?, number()?, number()?);
            let addr = fields.next()?.strip_prefix("0x")?;
            Some(Signal {
                signal,
                si_code,
                pkey: u32::try_from(pkey).ok(),
                addr: usize::from_str_radix(addr, 16).ok()?,
            })
        })
        .collect()
}
