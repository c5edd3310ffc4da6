//! What a context without a grant may do with a shared page is for the shared knob to say, and it opens shared pages only.

use pkeys_core::{Access, Knobs, Mode, PageFaultErrorCode, PageState, Rights};
use pkeys_kernel::pks::kmap::{HashedMarks, Kmap, SharedKeys};
use pkeys_kernel::pks::region::{Openers, Protected};
use pkeys_kernel::pks::{
    KeyFault, KeyedPage, PksCpu, StepFrame, Verdict, end_of_context, enter, leave,
};

use crate::rig::{JOURNAL, Kernel, LEDGER, Lock, Rig, SHARED, TestRegions, ThisCpu, page, pages};

/// Of the ledger, one shared page and one that is not; of the journal, one shared page.
const SHARED_PAGE: usize = 0;
const OWN_PAGE: usize = 1;
const OTHERS_PAGE: usize = 2;

/// Registers of which nothing is looked at: pardons are for contexts here.
struct Frame;

impl StepFrame for Frame {
    fn rip(&self) -> u64 {
        0
    }

    fn rsp(&self) -> u64 {
        0
    }

    fn rflags(&self) -> u64 {
        2
    }

    fn set_rflags(&mut self, _: u64) {}
}

/// How an access ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It went through by itself.
    Done,
    /// It was pardoned, and told of or not.
    Pardoned { is_told: bool },
    /// The kernel ends here.
    Dead { page: PageState },
}

/// A thread on CPU 0 accesses pages, and faults are handled.
struct Case {
    rig: &'static Rig,
    kmap: Kmap<'static, Kernel, Lock, HashedMarks<4>>,
    _protected: [Protected<'static, Kernel, Lock>; 2],
}

impl Case {
    fn new(knobs: Knobs) -> Self {
        let rig = Rig::new(1, 1, 3);
        rig.turn(knobs);
        let regions: &TestRegions =
            Box::leak(Box::new(TestRegions::new(rig.keys(), Kernel::of(rig))));
        let protect = |first, nr, key| {
            Protected::new(regions, pages(first, nr), key, Openers::Anybody).unwrap()
        };
        let keys = SharedKeys {
            no_access: Some(SHARED),
            read_only: None,
        };
        Self {
            rig,
            kmap: Kmap::new(regions, keys, HashedMarks::new()),
            _protected: [protect(0, 2, LEDGER), protect(2, 1, JOURNAL)],
        }
    }

    fn access(&self, number: usize, access: Access, rip: u64) -> End {
        let mut end = End::Done;
        // One fault takes what the TLB has, the next one is judged by the tables.
        for _ in 0..3 {
            let Err(code) = self.rig.access(0, number, access) else {
                return end;
            };
            match self.fault(number, code, rip) {
                Verdict::Fatal(report) => return End::Dead { page: report.page },
                Verdict::Pardon(pardoned) => {
                    assert_eq!(pardoned.key.pkey(), self.rig.pkey(number));
                    let is_told = pardoned.report.is_some();
                    pardoned.give(self.rig.context(0), &mut Frame, &[]);
                    self.reload();
                    end = End::Pardoned { is_told };
                }
                Verdict::Retry => {}
                other @ Verdict::Other => panic!("{other:?}"),
            }
        }
        panic!("the {access} of page {number} faults for ever");
    }

    /// What the return from a fault handler does, when it has changed what the thread may do.
    fn reload(&self) {
        leave(&ThisCpu(self.rig), self.rig.context(0));
    }

    /// The fault handler, and its return.
    fn fault(&self, number: usize, code: PageFaultErrorCode, rip: u64) -> Verdict {
        let cpu = ThisCpu(self.rig);
        let interrupted = cpu.current();
        // The context of the handler on CPU 0 is the one behind the thread's.
        enter(&cpu, self.rig.context(1));
        let addr = page(number).addr();
        let pkey = self.rig.pkey(number);
        let keyed = KeyedPage {
            pkey,
            state: self.kmap.state(addr, pkey),
        };
        let fault = KeyFault { addr, code, rip };
        let verdict = self.rig.pks.judge(&fault, interrupted, Some(keyed));
        leave(&cpu, interrupted);
        verdict
    }
}

fn shared(mode: Mode) -> Knobs {
    Knobs {
        shared: mode,
        ..Knobs::DEFAULT
    }
}

#[test]
fn each_mode_lets_through_what_it_should_of_shared_pages_and_nothing_of_the_others() {
    let dead = |page| End::Dead { page };
    for (mode, first, second) in [
        (
            Mode::Strict,
            dead(PageState::Shared),
            dead(PageState::Shared),
        ),
        (
            Mode::Relaxed,
            End::Pardoned { is_told: true },
            End::Pardoned { is_told: false },
        ),
        (
            Mode::Silent,
            End::Pardoned { is_told: false },
            End::Pardoned { is_told: false },
        ),
        (Mode::Off, End::Done, End::Done),
    ] {
        for access in [Access::Read, Access::Write] {
            let case = Case::new(shared(mode));
            let mappings =
                [SHARED_PAGE, OTHERS_PAGE].map(|number| case.kmap.kmap(page(number)).unwrap());
            assert_eq!(case.access(SHARED_PAGE, access, 7), first, "{mode}");
            let is_open = matches!(first, End::Pardoned { .. } | End::Done);
            // The pardon holds until the context ends, for all shared pages, and for what it was given for.
            let again = if is_open {
                End::Done
            } else {
                dead(PageState::Shared)
            };
            assert_eq!(case.access(SHARED_PAGE, access, 7), again, "{mode}");
            assert_eq!(case.access(OTHERS_PAGE, access, 7), again, "{mode}");
            // Never for pages that are not shared.
            assert_eq!(case.access(OWN_PAGE, access, 7), dead(PageState::Stray));
            end_of_context(&ThisCpu(case.rig));
            assert_eq!(case.access(SHARED_PAGE, access, 7), second, "{mode}");
            end_of_context(&ThisCpu(case.rig));
            drop(mappings);
            assert_eq!(case.access(SHARED_PAGE, access, 7), dead(PageState::Stray));
        }
    }
}

/// A pardon that a context has is no way to a page that has gone back to its own key.
#[test]
fn a_pardon_ends_with_the_shared_mapping() {
    let case = Case::new(shared(Mode::Silent));
    let mapping = case.kmap.kmap(page(SHARED_PAGE)).unwrap();
    let pardoned = End::Pardoned { is_told: false };
    assert_eq!(case.access(SHARED_PAGE, Access::Write, 7), pardoned);
    drop(mapping);
    let dead = End::Dead {
        page: PageState::Stray,
    };
    assert_eq!(case.access(SHARED_PAGE, Access::Write, 7), dead);
}

/// In mode strict, who wants to use a shared page maps it, or is handed it.
#[test]
fn strict_leaves_local_mappings_as_the_way_to_a_shared_page() {
    let case = Case::new(shared(Mode::Strict));
    let _mapping = case.kmap.kmap(page(SHARED_PAGE)).unwrap();
    let local = case
        .kmap
        .kmap_local_page(page(SHARED_PAGE), Rights::ReadOnly)
        .unwrap();
    assert_eq!(case.access(SHARED_PAGE, Access::Read, 7), End::Done);
    let dead = End::Dead {
        page: PageState::Shared,
    };
    assert_eq!(case.access(SHARED_PAGE, Access::Write, 7), dead);
    drop(local);
    assert_eq!(case.access(SHARED_PAGE, Access::Read, 7), dead);
}
