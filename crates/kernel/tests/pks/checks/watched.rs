//! What the watched thread does: accesses, with the faults that they make, and traps.

use pkeys_core::{Access, PageState};
use pkeys_kernel::pks::{self, KeyFault, KeyedPage, Verdict};

use super::system::{Frame, IF, ONE, TF, key_fault};
use super::world::World;

impl World<'_> {
    /// An access of the watched code to a page of key 1, with the faults that it makes, in a frame that is the code's.
    /// Gives how many faults there were.
    pub(crate) fn access(&self, access: Access, frame: &mut Frame) -> usize {
        let mut nr_faults = 0;
        loop {
            self.point();
            if self.cpu().pkrs.get().allows(ONE.pkey(), access) {
                break;
            }
            nr_faults += 1;
            if nr_faults > 4 {
                self.fail(|| "the access faults for ever".to_owned());
                break;
            }
            self.page_fault(access, frame);
        }
        if frame.rflags & TF != 0 {
            self.debug_trap(frame);
        }
        nr_faults
    }

    fn page_fault(&self, access: Access, frame: &mut Frame) {
        let interrupted = self.arena.get(self.cpu().current.get());
        let had_interrupts = frame.rflags & IF != 0;
        self.handler(|| {
            // As the interrupted code had it.
            self.lets_interrupts_in.set(had_interrupts);
            let fault = KeyFault {
                addr: 0x1000,
                code: key_fault(access),
                rip: frame.rip,
            };
            let page = KeyedPage {
                pkey: ONE.pkey(),
                state: PageState::Stray,
            };
            match self.pks.judge(&fault, interrupted, Some(page)) {
                Verdict::Retry => {}
                Verdict::Pardon(pardoned) => {
                    self.point();
                    // MOV [RAX], EAX.
                    let _ = pardoned.give(interrupted, frame, &[0x89, 0x00, 0x90]);
                }
                verdict => self.fail(|| format!("{verdict:?}")),
            }
            self.check("a fault handler", &[], &[]);
        });
        self.lets_interrupts_in.set(frame.rflags & IF != 0);
    }

    fn debug_trap(&self, frame: &mut Frame) {
        let interrupted = self.arena.get(self.cpu().current.get());
        self.handler(|| match pks::debug_trap(interrupted, frame) {
            Some(stepped) if stepped.pushed.is_none() && !stepped.is_own => {}
            wrong => self.fail(|| format!("{wrong:?}")),
        });
        self.lets_interrupts_in.set(frame.rflags & IF != 0);
    }
}
