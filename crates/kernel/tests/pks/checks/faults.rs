//! What is done about a fault: every case, against the rules as they are told to an administrator.

use pkeys_core::{
    Access, KeyRegister, Knobs, Mode, PageFaultErrorCode, PageState, Pardon, Pkey, Rights,
};
use pkeys_kernel::pks::{
    Callbacks, Context, Declaration, Declared, Interrupted, KeyFault, KeyedPage, Pks, PksKey,
    Report, Settings, StepFrame, Verdict,
};

use super::bare::with_grant;
use super::system::{Frame, IF, Lock};

const RIGHTS: [Rights; 3] = [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite];
const STATES: [PageState; 2] = [PageState::Stray, PageState::Shared];
const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];

/// The instruction at fault: MOV [RAX], EAX, and its neighbour.
const RIP: u64 = 0xFFFF_8000_0000_1234;
const CODE: [u8; 3] = [0x89, 0x00, 0x90];
const ADDR: u64 = 0xFFFF_9000_0000_0010;

fn declines(_: &KeyFault, _: PksKey, _: &Interrupted<'_>) -> bool {
    false
}

fn lets_in(fault: &KeyFault, key: PksKey, interrupted: &Interrupted<'_>) -> bool {
    assert_eq!((fault.addr, fault.rip), (ADDR, RIP));
    interrupted.open(key, Rights::ReadWrite);
    true
}

const CALLBACKS: Callbacks = Callbacks::new(&[("declines", declines), ("lets in", lets_in)]);

/// What the page tables say.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Page {
    Gone,
    WithoutKey,
    Keyed,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    knobs: Knobs,
    /// The key's pages are meant to be such.
    key_is_for: PageState,
    /// The page is marked as such.
    marked: PageState,
    closed: Rights,
    granted: Rights,
    access: Access,
    code: u32,
    page: Page,
    callback: Option<&'static str>,
    pardon: Pardon,
    is_known_site: bool,
}

/// What is to come out.
#[derive(Debug, PartialEq)]
enum Expected {
    Other,
    /// The context has been let in.
    Retry,
    Pardon {
        is_told: bool,
    },
    Fatal,
}

impl Case {
    /// The rules, in words. Also the mode under which the access is counted, if it is.
    fn expected(&self) -> (Expected, Option<Mode>) {
        let has = |bit| self.code & bit != 0;
        let is_kernels = !has(PageFaultErrorCode::U);
        let is_by_key = has(PageFaultErrorCode::PK) && has(PageFaultErrorCode::P);
        if !is_kernels || !is_by_key || self.access == Access::Fetch {
            return (Expected::Other, None);
        }
        if self.page != Page::Keyed || self.may(self.access) {
            return (Expected::Retry, None);
        }
        let mode = match self.marked {
            PageState::Stray => self.knobs.stray,
            PageState::Shared => self.knobs.shared,
        };
        let is_first = !self.is_known_site;
        match mode {
            Mode::Off => (Expected::Pardon { is_told: false }, None),
            _ if self.callback == Some("lets in") => (Expected::Retry, None),
            Mode::Strict => (Expected::Fatal, Some(mode)),
            Mode::Relaxed => (Expected::Pardon { is_told: is_first }, Some(mode)),
            Mode::Silent => (Expected::Pardon { is_told: false }, Some(mode)),
        }
    }

    /// Whether the context may do this by its grants, the closed rights, or because keys of that kind are off.
    fn may(&self, access: Access) -> bool {
        let is_off = match self.key_is_for {
            PageState::Stray => self.knobs.stray == Mode::Off,
            PageState::Shared => self.knobs.shared == Mode::Off,
        };
        is_off || self.granted.allows(access) || self.closed.allows(access)
    }

    /// The rights that the context has before.
    fn held(&self) -> Rights {
        let may = |access| self.may(access);
        match (may(Access::Read), may(Access::Write)) {
            (_, true) => Rights::ReadWrite,
            (true, false) => Rights::ReadOnly,
            (false, false) => Rights::NoAccess,
        }
    }

    fn check(&self) {
        let declaration = Declaration {
            name: "pmem",
            closed: self.closed,
            pages: self.key_is_for,
        };
        let declared = Declared::new([declaration]);
        let settings = Settings {
            knobs: self.knobs,
            pardon: self.pardon,
        };
        let pks: Pks<Lock> = Pks::new(&declared, CALLBACKS, settings);
        let key = declared.key("pmem");
        let callback = self.callback.map(|name| CALLBACKS.id(name));
        pks.keys().set_callback(key, callback).unwrap();
        let fault = KeyFault {
            addr: ADDR,
            code: PageFaultErrorCode::from_bits(self.code),
            rip: RIP,
        };
        let page = KeyedPage {
            pkey: match self.page {
                Page::Keyed => key.pkey(),
                _ => Pkey::DEFAULT,
            },
            state: self.marked,
        };
        let page = (self.page != Page::Gone).then_some(page);
        if self.is_known_site {
            // Somebody else was there.
            let _ = pks.judge(&fault, &Context::new(), page);
        }
        let context = with_grant(key, self.granted);
        let before = Mode::ALL.map(|mode| pks.counters().of(key, mode));
        let false_before = pks.counters().nr_false();

        let verdict = pks.judge(&fault, &context, page);

        let (expected, counted) = self.expected();
        let after = Mode::ALL.map(|mode| pks.counters().of(key, mode));
        for (mode, (before, after)) in Mode::ALL.iter().zip(before.into_iter().zip(after)) {
            let is_counted = counted == Some(*mode);
            assert_eq!(after - before, u64::from(is_counted), "{self:?}: {mode}");
        }
        let is_false =
            expected == Expected::Retry && (self.page != Page::Keyed || self.may(self.access));
        let nr_false = pks.counters().nr_false() - false_before;
        assert_eq!(nr_false, u64::from(is_false), "{self:?}");
        let report = || Report {
            fault,
            access: self.access,
            key,
            holder: Some(pkeys_core::Excerpt::new("pmem")),
            page: self.marked,
            held: self.held(),
            mode: self.knobs.mode_for(self.marked),
        };
        match verdict {
            Verdict::Other => assert_eq!(expected, Expected::Other, "{self:?}"),
            Verdict::Retry => {
                assert_eq!(expected, Expected::Retry, "{self:?}");
                let has_passed = rights(&pks, &context, key).allows(self.access);
                assert!(self.page != Page::Keyed || has_passed, "{self:?}");
            }
            Verdict::Fatal(given) => {
                assert_eq!(expected, Expected::Fatal, "{self:?}");
                assert_eq!(given, report());
            }
            Verdict::Pardon(pardoned) => {
                let is_told = pardoned.report.is_some();
                assert_eq!(expected, Expected::Pardon { is_told }, "{self:?}");
                if let Some(told) = pardoned.report {
                    assert_eq!(told, report());
                }
                self.check_given(&pks, pardoned, &context, key);
            }
        }
    }

    /// The pardon gives what was missing, on this key, and no more.
    fn check_given(
        &self,
        pks: &Pks<Lock>,
        pardoned: pkeys_kernel::pks::Pardoned,
        context: &Context,
        key: PksKey,
    ) {
        let mut frame = Frame {
            rip: RIP,
            rflags: IF | 2,
        };
        let before = context.value(pks.closed());
        let given = pardoned.give(context, &mut frame, &CODE);
        assert_eq!(given, self.pardon);
        let is_stepped = given == Pardon::Instruction;
        assert_eq!(context.is_stepped(), is_stepped);
        assert_eq!(frame.rflags() & IF == 0, is_stepped);
        let wanted = match self.access {
            Access::Write => Rights::ReadWrite,
            _ => Rights::ReadOnly,
        };
        let after = context.value(pks.closed());
        assert_eq!(
            after.rights(key.pkey()),
            wanted.max(self.held()),
            "{self:?}"
        );
        let others = !KeyRegister::mask(key.pkey());
        assert_eq!(after.bits() & others, before.bits() & others);
    }
}

fn rights(pks: &Pks<Lock>, context: &Context, key: PksKey) -> Rights {
    context.value(pks.closed()).rights(key.pkey())
}

/// The error code of an access, with some of the bits that say why it faulted.
fn code(access: Access, reasons: u32) -> u32 {
    let kind = match access {
        Access::Read => 0,
        Access::Write => PageFaultErrorCode::W,
        Access::Fetch => PageFaultErrorCode::I,
    };
    let bits = [
        PageFaultErrorCode::P,
        PageFaultErrorCode::U,
        PageFaultErrorCode::PK,
    ];
    let chosen = (0..)
        .zip(bits)
        .filter(|(place, _)| reasons >> place & 1 != 0);
    chosen.fold(kind, |code, (_, bit)| code | bit)
}

/// All that can be chosen apart from the page, the rights and the knobs.
fn kinds_of_fault(case: Case) -> impl Iterator<Item = Case> {
    let codes = ACCESSES.into_iter().flat_map(move |access| {
        (0..8).map(move |reasons| Case {
            access,
            code: code(access, reasons),
            ..case
        })
    });
    codes.flat_map(|case| {
        // Where keys have no part in it, the rest makes no difference.
        let is_ours = case.expected().0 != Expected::Other;
        let callbacks: &[_] = if is_ours {
            &[None, Some("declines"), Some("lets in")]
        } else {
            &[None]
        };
        let pardons: &[_] = if is_ours {
            &Pardon::ALL
        } else {
            &[Pardon::Context]
        };
        callbacks.iter().flat_map(move |callback| {
            pardons.iter().flat_map(move |pardon| {
                [false, true].map(|is_known_site| Case {
                    callback: *callback,
                    pardon: *pardon,
                    is_known_site,
                    ..case
                })
            })
        })
    })
}

pub(crate) fn every_fault_agrees_with_the_rules() {
    let mut nr_cases = 0;
    let knobs = || {
        Mode::ALL
            .into_iter()
            .flat_map(|stray| Mode::ALL.map(|shared| Knobs { stray, shared }))
    };
    let states = || {
        STATES
            .into_iter()
            .flat_map(|key| STATES.map(|page| (key, page)))
    };
    let rights = || {
        RIGHTS
            .into_iter()
            .flat_map(|closed| RIGHTS.map(|granted| (closed, granted)))
    };
    for knobs in knobs() {
        for (key_is_for, marked) in states() {
            for (closed, granted) in rights() {
                for page in [Page::Gone, Page::WithoutKey, Page::Keyed] {
                    let case = Case {
                        knobs,
                        key_is_for,
                        marked,
                        closed,
                        granted,
                        access: Access::Read,
                        code: 0,
                        page,
                        callback: None,
                        pardon: Pardon::Context,
                        is_known_site: false,
                    };
                    for case in kinds_of_fault(case) {
                        case.check();
                        nr_cases += 1;
                    }
                }
            }
        }
    }
    println!("{nr_cases} cases");
    assert!(nr_cases > 100_000);
}
