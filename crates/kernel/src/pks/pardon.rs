//! Pardons: letting a stray access through, for one instruction or until its context ends.
//!
//! A pardon gives the right that was missing, on the key of the page, to the context that faulted. It is kept in that
//! context and nowhere else. So a context that is interrupted, preempted or moved to another CPU while it is pardoned takes
//! the pardon along and meets it when it goes on, and no handler, thread or CPU in between has any of it.
//!
//! # When a context ends
//!
//! A pardon for the context ends at the first of these:
//!
//! | event | call |
//! |---|---|
//! | the thread returns to user mode | [`super::end_of_context`] |
//! | a work item ends | [`super::end_of_context`] |
//! | an interrupt, an exception, an NMI or the softirqs return | [`super::leave`]: the context itself is gone |
//! | the last open grant of the context ends, on whichever key | [`super::revoke`] |
//!
//! The last is why code that works under grants is not pardoned for longer than its work takes, even in a kernel thread
//! that never ends. It counts also for a grant that was made after the pardon. What ends too early costs one more fault;
//! what ends too late is an access that nobody sees.
//!
//! What a callback gives or denies the context ends with it in the same way.
//!
//! A pardon for one instruction is in [`super::step`]. Where that is not possible, because the instruction cannot be read,
//! the context is pardoned instead.

use pkeys_core::{Access, Pardon};

use super::context::{Context, needed_for};
use super::fault::Report;
use super::key::PksKey;
use super::step::{self, StepFrame};
use crate::mutant::{self, Mutant};

/// An access that is to be let through. Nothing is changed yet.
#[must_use = "the access faults again until it is pardoned"]
#[derive(Debug, PartialEq, Eq)]
pub struct Pardoned {
    /// The page's key.
    pub key: PksKey,
    /// What the access does.
    pub access: Access,
    /// For how long.
    pub pardon: Pardon,
    /// What to tell, if it is to be told.
    pub report: Option<Report>,
}

impl Pardoned {
    /// Gives the pardon to the context that faulted, whose registers are in `frame`. It holds when the handler has left.
    ///
    /// `code` is the instruction, as many bytes from there on as can be read; it is looked at if the pardon is for one
    /// instruction. Gives for how long the pardon is in the end.
    pub fn give(self, interrupted: &Context, frame: &mut impl StepFrame, code: &[u8]) -> Pardon {
        let Self {
            key,
            access,
            pardon,
            ..
        } = self;
        let access = match access {
            Access::Read if mutant::is(Mutant::PksPardonTooWide) => Access::Write,
            access => access,
        };
        match pardon {
            Pardon::Instruction if step::begin(interrupted, frame, code) => {
                interrupted.lend_for_step(key, access);
                Pardon::Instruction
            }
            _ => {
                interrupted.lend(key, needed_for(access));
                Pardon::Context
            }
        }
    }
}
