//! What the reporter finds out about one record: the call chain with names, the thread's age, the page as it is now.

use crate::fault::report::cfi::Tables;
use crate::fault::report::maps;
use crate::fault::report::modules::{self, Module};
use crate::fault::report::process::{self, PageNow};
use crate::fault::report::record::Record;
use crate::fault::report::stack::Stack;
use crate::fault::report::symbols::{Function, Symbols};
use crate::fault::report::unwind::{self, Call, Chain};
use crate::fault::stray::Stray;

/// What is kept from one report to the next.
#[derive(Default)]
pub(super) struct Knowledge {
    symbols: Symbols,
    tables: Tables,
}

/// A record with all that could be found out about it.
#[derive(Debug)]
pub(super) struct Finding<'r> {
    pub(super) record: &'r Record,
    pub(super) stray: &'r Stray,
    /// Innermost first.
    pub(super) places: Vec<Place>,
    /// How far the calls were followed.
    pub(super) extent: Extent,
    /// Whether the thread is older than the domain; `None` when that cannot be told.
    pub(super) is_thread_older: Option<bool>,
    pub(super) page: PageNow,
}

/// One place where the thread was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pc: u64,
    /// Whether a signal handler interrupted the thread here.
    pub(super) is_interrupted: bool,
    pub(super) module: Option<Module>,
    /// The functions there: several where calls were inlined, innermost first.
    pub(super) functions: Vec<Function>,
}

/// How far the calls were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// To where the thread began.
    Complete,
    /// To code that keeps neither unwind information nor a frame pointer, or to the limit.
    Partial,
    /// Not at all: the thread had stopped waiting.
    Abandoned,
}

impl<'r> Finding<'r> {
    /// Finds out what there is. `is_abandoned` tells whether the thread may have moved on.
    pub(super) fn of(
        record: &'r Record,
        knowledge: &mut Knowledge,
        is_abandoned: impl Fn() -> bool,
    ) -> Option<Self> {
        let stray = record.stray.as_ref()?;
        let stack = Stack::copy(stray.registers.rsp);
        // Asked after the copy: it is the thread's stack at the fault only if the thread was still waiting then.
        let is_usable = !is_abandoned();
        let mappings = maps::read().unwrap_or_default();
        let modules = modules::of(&mappings);
        let chain = if is_usable {
            unwind::unwind(&stray.registers, &stack, &modules, &mut knowledge.tables)
        } else {
            only(stray)
        };
        let extent = match (is_usable, chain.is_complete) {
            (false, _) => Extent::Abandoned,
            (true, true) => Extent::Complete,
            (true, false) => Extent::Partial,
        };
        let has_key = stray.register_at_fault.is_some();
        Some(Self {
            record,
            stray,
            places: chain
                .calls
                .into_iter()
                .map(|call| place(call, &modules, &mut knowledge.symbols))
                .collect(),
            extent,
            is_thread_older: process::thread_start_ticks(stray.tid)
                .and_then(|ticks| process::is_older(ticks, stray.domain_created_ticks)),
            page: PageNow::of(stray.addr, &mappings, has_key),
        })
    }

    /// Whether a signal handler strayed; `None` where the calls were not followed far enough to tell.
    pub(super) fn is_in_signal_handler(&self) -> Option<bool> {
        let is_found = self.places.iter().skip(1).any(|place| place.is_interrupted);
        (is_found || self.extent == Extent::Complete).then_some(is_found)
    }
}

impl Place {
    /// The place as its module's file states it.
    pub(super) fn offset(&self) -> Option<u64> {
        Some(self.pc.wrapping_sub(self.module?.bias as u64))
    }
}

/// The chain of which only the guilty instruction is known.
fn only(stray: &Stray) -> Chain {
    Chain {
        calls: vec![Call {
            pc: stray.pc as u64,
            is_interrupted: true,
        }],
        is_complete: false,
    }
}

fn place(call: Call, modules: &[Module], symbols: &mut Symbols) -> Place {
    let addr = call.addr();
    let module = usize::try_from(addr)
        .ok()
        .and_then(|addr| modules::find_in(modules, addr));
    let functions = module.map_or_else(
        || vec![Function::default()],
        |module| {
            symbols
                .of(module)
                .functions(addr.wrapping_sub(module.bias as u64))
        },
    );
    Place {
        pc: call.pc,
        is_interrupted: call.is_interrupted,
        module: module.copied(),
        functions,
    }
}
