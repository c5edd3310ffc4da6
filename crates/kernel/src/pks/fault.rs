//! Faults of supervisor keys: judged, not handled.
//!
//! The page-fault handler knows the address, the error code and the instruction; the processor does not say which key
//! it was, so the handler walks the page tables, and asks whoever keeps the shared marks. [`Pks::judge`] then says what
//! is to be done:
//!
//! 1. The context may do it by now: try again. The closed rights have changed since, the page has another key, or none. (A
//!    page fault takes the translation out of the TLB, so that the next try sees the tables as they are.)
//! 2. The mode is off: let it through without a trace, as it has come in a race with a change of mode.
//! 3. The key has a function, which says that it has dealt with it: try again.
//! 4. The mode decides, by the same table as in user space ([`pkeys_core::decide`]): die, or pardon; tell, or not.
//!
//! Nothing here takes a lock, allocates, formats or loops over more than the table of sites. A [`Report`] is what there is
//! to tell; who prints it, and when, is the caller's to choose.
//!
//! Source: SDM Vol. 3A, 4.7 (error codes), 4.10.4.1 (page faults and TLB entries).

use core::fmt;

use lock_api::RawMutex;
use pkeys_core::{
    Access, Excerpt, Mode, Outcome, PageFaultErrorCode, PageState, Pkey, Rights, decide,
};

use super::callback::Interrupted;
use super::context::Context;
use super::key::PksKey;
use super::pardon::Pardoned;
use super::system::Pks;
use crate::mutant::{self, Mutant};

/// A page fault, as the processor told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFault {
    /// CR2.
    pub addr: u64,
    /// The error code.
    pub code: PageFaultErrorCode,
    /// The instruction.
    pub rip: u64,
}

/// The page that a fault was at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedPage {
    /// The key in its leaf entry now.
    pub pkey: Pkey,
    /// Whether it is marked as shared.
    pub state: PageState,
}

/// What is to be done about a fault.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has nothing to do with supervisor keys.
    Other,
    /// Return to the instruction.
    Retry,
    /// Return to the instruction, with a pardon.
    Pardon(Pardoned),
    /// The access does not go through: the kernel, or whatever of it can be given up, ends here.
    Fatal(Report),
}

/// A stray access, with all that is known of it here. The CPU, the thread and the function's name are the caller's to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The fault.
    pub fault: KeyFault,
    /// What the access did.
    pub access: Access,
    /// The page's key.
    pub key: PksKey,
    /// The beginning of the name of the key's holder, if it is known.
    pub holder: Option<Excerpt>,
    /// Whether the page is marked as shared.
    pub page: PageState,
    /// The rights that the context had on the key.
    pub held: Rights,
    /// The mode that decided.
    pub mode: Mode,
}

/// In one line, such as `stray write to 0xffff900000000010 at 0xffff800000001234: key 1 of "pmem", no access, strict`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fault, access, key, ..
        } = self;
        let kind = match self.page {
            PageState::Stray => "stray",
            PageState::Shared => "ungranted",
        };
        write!(
            f,
            "{kind} {access} to {:#x} at {:#x}: key {key}",
            fault.addr, fault.rip
        )?;
        match self.holder {
            Some(holder) if holder.as_str().is_empty() => f.write_str(" of nobody")?,
            Some(holder) => write!(f, " of {holder}")?,
            None => f.write_str(" of nobody that is known")?,
        }
        if self.page == PageState::Shared {
            f.write_str(", on a shared page")?;
        }
        write!(f, ", {}, {}", self.held, self.mode)
    }
}

impl<L: RawMutex> Pks<L> {
    /// Judges a page fault that happened in `interrupted`. `page` is `None` if there is none by now.
    ///
    /// A callback may change what `interrupted` may do. Else nothing changes but what is counted and which sites are known;
    /// a pardon is the caller's to give, by [`Pardoned::give`].
    pub fn judge(
        &self,
        fault: &KeyFault,
        interrupted: &Context,
        page: Option<KeyedPage>,
    ) -> Verdict {
        let access = fault.code.access();
        if !is_of_supervisor_keys(fault.code) {
            return Verdict::Other;
        }
        let keyed = page.and_then(|page| Some((PksKey::new(page.pkey).ok()?, page.state)));
        let Some((key, state)) = keyed else {
            self.counters.count_false();
            return Verdict::Retry;
        };
        let value = interrupted.value_while(self.closed(), self.keys().sharing());
        let held = value.rights(key.pkey());
        if held.allows(access) && !mutant::is(Mutant::PksFalseFaultJudged) {
            self.counters.count_false();
            return Verdict::Retry;
        }
        let settings = self.settings();
        let mode = settings.knobs.mode_for(match state {
            PageState::Stray if mutant::is(Mutant::PksKnobsSwapped) => PageState::Shared,
            PageState::Shared if mutant::is(Mutant::PksKnobsSwapped) => PageState::Stray,
            state => state,
        });
        let is_handled = || {
            let callback = self.callback(key);
            callback.is_some_and(|callback| callback(fault, key, &Interrupted(interrupted)))
        };
        if mode != Mode::Off && is_handled() {
            return Verdict::Retry;
        }
        let needed = Context::needed_bits(key, access);
        let is_known = interrupted.step.is_resumed(fault.rip, needed);
        let is_first = mode == Mode::Relaxed && !is_known && self.is_first_at(fault.rip);
        let action = decide(mode, is_first);
        let is_stopped = action.outcome == Outcome::Stop;
        if action.count && (is_stopped || !is_known) {
            self.counters.count(key, mode);
        }
        let report = || Report {
            fault: *fault,
            access,
            key,
            holder: self.keys().name_at_fault(key),
            page: state,
            held,
            mode,
        };
        if is_stopped && !mutant::is(Mutant::PksStrictPardons) {
            return Verdict::Fatal(report());
        }
        Verdict::Pardon(Pardoned {
            key,
            access,
            pardon: settings.pardon,
            report: action.report.then(report),
        })
    }

    fn is_first_at(&self, rip: u64) -> bool {
        self.sites.is_first(rip) || mutant::is(Mutant::PksSitesForgotten)
    }
}

/// Whether a supervisor key has to do with it: keys stop data accesses to pages that are present, and supervisor keys stop
/// those of the kernel. A program that touches the kernel's memory is not pardoned by any mode.
fn is_of_supervisor_keys(code: PageFaultErrorCode) -> bool {
    let is_data = code.access() != Access::Fetch;
    code.has_pkey_bit()
        && code.is_present()
        && is_data
        && (!code.is_user() || mutant::is(Mutant::PksUserJudged))
}
