//! `ptrace(2)`: a tracer reaches memory that keys close, and sees and changes PKRU in the saved state.
//!
//! Where the state keeps PKRU differs between processors. A tracer would ask CPUID; here the tracee is given two
//! registers in turn, and the offset is where each of them is found.

use crate::bytes;
use crate::calls::{DISABLE_ACCESS, PAGE, R, RW};
use crate::case::{Case, Mismatch, Verdict};
use crate::check::{
    INIT_PKRU, allowed, equal, err, faults, gives, mismatch, pkru, pkuerr, same_pkru, value,
};
use crate::fixture::{BYTE, Keyed, keyed, put_words, set_rights, tag};
use crate::system::{Peer, Raw, System};
use crate::tasks;

const MEMORY: &str = "kernel/ptrace.c, generic_ptrace_peekdata (access_process_vm, FOLL_REMOTE)";
const GET: &str = "arch/x86/kernel/fpu/xstate.c, __copy_xstate_to_uabi_buf (pkru_val)";
const SET: &str = "arch/x86/kernel/fpu/xstate.c, copy_uabi_to_xstate (pkru)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "ptrace.peek_of_closed_memory",
        "PTRACE_PEEKDATA reads a child's memory whose key neither of the two has open.",
        "selftest protection_keys.c, test_ptrace_of_child",
        peek_of_closed_memory,
    ),
    Case::new(
        "ptrace.poke_of_closed_memory",
        "PTRACE_POKEDATA writes it.",
        MEMORY,
        poke_of_closed_memory,
    ),
    Case::new(
        "ptrace.poke_of_read_only_memory",
        "PTRACE_POKEDATA writes a read-only private page whose key is closed.",
        "mm/gup.c, check_vma_flags (FOLL_FORCE)",
        poke_of_read_only_memory,
    ),
    Case::new(
        "ptrace.state_shows_the_register",
        "NT_X86_XSTATE holds the tracee's PKRU, with its bit in XSTATE_BV.",
        GET,
        state_shows_the_register,
    ),
    Case::new(
        "ptrace.state_is_not_stale",
        "It shows what the tracee wrote last, at each stop.",
        GET,
        state_is_not_stale,
    ),
    Case::new(
        "ptrace.register_can_be_set",
        "PTRACE_SETREGSET with the bit set gives the tracee the value, and leaves the tracer's PKRU.",
        "selftest protection_keys.c, test_ptrace_modifies_pkru",
        register_can_be_set,
    )
    .since(6, 2),
    Case::new(
        "ptrace.without_the_bit_all_keys_open",
        "PTRACE_SETREGSET with the bit clear gives the tracee PKRU 0, whatever value stands in the state.",
        "selftest protection_keys.c, test_ptrace_modifies_pkru",
        without_the_bit_all_keys_open,
    )
    .since(6, 2),
    Case::new(
        "ptrace.set_rights_are_enforced",
        "What a tracer closed is closed to the tracee, and what it opened is open.",
        SET,
        set_rights_are_enforced,
    )
    .since(6, 2),
];

// Requests of ptrace(2).
const PEEKDATA: u64 = 2;
const POKEDATA: u64 = 5;
const ATTACH: u64 = 16;
const DETACH: u64 = 17;
const GETREGSET: u64 = 0x4204;
const SETREGSET: u64 = 0x4205;
const NT_X86_XSTATE: u64 = 0x202;

/// Where `XSTATE_BV` begins in the saved state, and the first byte that PKRU can be at.
const XSTATE_BV: u64 = 512;
const HEADER_END: u64 = 576;
/// PKRU's bit in `XSTATE_BV`.
const BIT: u64 = 1 << 9;

fn ptrace(sys: &mut dyn System, request: u64, pid: u64, addr: u64, data: u64) -> Raw {
    sys.syscall(101, [request, pid, addr, data, 0, 0])
}

/// A child that this thread traces, stopped.
struct Tracee {
    pid: u64,
}

impl Tracee {
    fn attach(sys: &mut dyn System, child: Peer) -> Result<Self, Mismatch> {
        let pid = sys.id(Some(child));
        gives("PTRACE_ATTACH", 0, ptrace(sys, ATTACH, pid, 0, 0))?;
        let status = sys.scratch().start;
        // wait4(2) with __WALL.
        let found = sys.syscall(61, [pid, status, 0x4000_0000, 0, 0, 0]);
        gives("wait4 of the tracee", pid.cast_signed(), found)?;
        let status = allowed("a read of scratch memory", bytes::get_u32(sys, status))?;
        // Stopped, by SIGSTOP.
        equal("the tracee's status", 0x137F, status)?;
        Ok(Self { pid })
    }

    fn detach(self, sys: &mut dyn System) -> Verdict {
        gives("PTRACE_DETACH", 0, ptrace(sys, DETACH, self.pid, 0, 0))
    }

    fn peek(&self, sys: &mut dyn System, addr: u64) -> Result<u64, Mismatch> {
        let at = sys.scratch().start + 64;
        gives(
            "PTRACE_PEEKDATA",
            0,
            ptrace(sys, PEEKDATA, self.pid, addr, at),
        )?;
        allowed("a read of scratch memory", bytes::get_u64(sys, at))
    }

    fn poke(&self, sys: &mut dyn System, addr: u64, word: u64) -> Verdict {
        gives(
            "PTRACE_POKEDATA",
            0,
            ptrace(sys, POKEDATA, self.pid, addr, word),
        )
    }

    /// Reads the saved state into scratch memory.
    fn state(&self, sys: &mut dyn System) -> Result<State, Mismatch> {
        let start = sys.scratch().start + 2 * PAGE;
        let room = sys.scratch().end - start;
        let iovec = put_words(sys, 128, &[start, room])?;
        let found = ptrace(sys, GETREGSET, self.pid, NT_X86_XSTATE, iovec);
        gives("PTRACE_GETREGSET", 0, found)?;
        let len = allowed("a read of scratch memory", bytes::get_u64(sys, iovec + 8))?;
        Ok(State { start, len })
    }

    /// Writes the saved state from scratch memory.
    fn set_state(&self, sys: &mut dyn System, state: &State) -> Verdict {
        let iovec = put_words(sys, 128, &[state.start, state.len])?;
        let found = ptrace(sys, SETREGSET, self.pid, NT_X86_XSTATE, iovec);
        gives("PTRACE_SETREGSET", 0, found)
    }
}

/// A saved state in scratch memory.
struct State {
    start: u64,
    len: u64,
}

impl State {
    fn pkru(&self, sys: &mut dyn System, offset: u64) -> Result<u32, Mismatch> {
        allowed(
            "a read of the state",
            bytes::get_u32(sys, self.start + offset),
        )
    }

    fn xstate_bv(&self, sys: &mut dyn System) -> Result<u64, Mismatch> {
        allowed(
            "a read of the state",
            bytes::get_u64(sys, self.start + XSTATE_BV),
        )
    }

    fn set(&self, sys: &mut dyn System, offset: u64, pkru: u32, has_bit: bool) -> Verdict {
        let bits = self.xstate_bv(sys)?;
        let bits = if has_bit { bits | BIT } else { bits & !BIT };
        allowed(
            "a write to the state",
            bytes::put_u64(sys, self.start + XSTATE_BV, bits),
        )?;
        allowed(
            "a write to the state",
            bytes::put_u32(sys, self.start + offset, pkru),
        )
    }
}

/// The state of a child that has this PKRU.
fn state_with(sys: &mut dyn System, child: Peer, pkru: u32) -> Result<(Tracee, State), Mismatch> {
    tasks::ask(sys, child, tasks::wrpkru, pkru.into())?;
    let tracee = Tracee::attach(sys, child)?;
    let state = tracee.state(sys)?;
    Ok((tracee, state))
}

/// Where the state keeps PKRU.
fn offset(sys: &mut dyn System, child: Peer) -> Result<u64, Mismatch> {
    let mut places: Option<Vec<u64>> = None;
    for pkru in [0x1CB3_92D8, 0xE34C_6D24] {
        let (tracee, state) = state_with(sys, child, pkru)?;
        let mut found = Vec::new();
        for place in (HEADER_END..state.len.saturating_sub(3)).step_by(4) {
            if state.pkru(sys, place)? == pkru {
                found.push(place);
            }
        }
        tracee.detach(sys)?;
        if let Some(before) = &places {
            found.retain(|place| before.contains(place));
        }
        places = Some(found);
    }
    match places.as_deref() {
        Some([place]) => Ok(*place),
        other => Err(mismatch(
            "places of PKRU in NT_X86_XSTATE",
            "one",
            format_args!("{other:?}"),
        )),
    }
}

fn peek_of_closed_memory(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let child = sys.fork();
    let tracee = Tracee::attach(sys, child)?;
    equal("the word", BYTE.into(), tracee.peek(sys, page)?)?;
    let found = sys.read(page);
    faults(
        sys,
        "the tracer's own read",
        pkuerr(page, key, err::READ_KEY),
        found,
    )?;
    // The tracer's rights to its own pages do not matter to the child's.
    set_rights(sys, key, 0);
    equal(
        "the word with the tracer's key open",
        BYTE.into(),
        tracee.peek(sys, page)?,
    )?;
    tracee.detach(sys)?;
    let denied = tasks::fault(4, key);
    tasks::tells(sys, "the child reads", child, (tasks::read, page), denied)
}

fn poke_of_closed_memory(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let child = sys.fork();
    let tracee = Tracee::attach(sys, child)?;
    tracee.poke(sys, page, 0x33)?;
    equal("the word", 0x33, tracee.peek(sys, page)?)?;
    tracee.detach(sys)?;
    tasks::ask(sys, child, tasks::wrpkru, 0)?;
    tasks::tells(sys, "the child reads", child, (tasks::read, page), 0x33)
}

fn poke_of_read_only_memory(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    tag(sys, page, R, key)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let child = sys.fork();
    let tracee = Tracee::attach(sys, child)?;
    tracee.poke(sys, page, 0x44)?;
    tracee.detach(sys)?;
    tasks::ask(sys, child, tasks::wrpkru, 0)?;
    tasks::tells(sys, "the child reads", child, (tasks::read, page), 0x44)?;
    set_rights(sys, key, 0);
    tag(sys, page, RW, key)?;
    crate::check::reads("the parent reads", BYTE, sys.read(page))
}

fn state_shows_the_register(sys: &mut dyn System) -> Verdict {
    let child = sys.fork();
    let place = offset(sys, child)?;
    for pkru in [INIT_PKRU, 0xFFFF_FFF0, 0x10, 0x4545_4544] {
        let (tracee, state) = state_with(sys, child, pkru)?;
        same_pkru("in the state", pkru, state.pkru(sys, place)?)?;
        equal("its bit in XSTATE_BV", BIT, state.xstate_bv(sys)? & BIT)?;
        tracee.detach(sys)?;
    }
    Ok(())
}

fn state_is_not_stale(sys: &mut dyn System) -> Verdict {
    let child = sys.fork();
    let place = offset(sys, child)?;
    for turn in 1..50 {
        let pkru = (turn * 0x0101_0100) & !3;
        let (tracee, state) = state_with(sys, child, pkru)?;
        same_pkru("in the state", pkru, state.pkru(sys, place)?)?;
        tracee.detach(sys)?;
    }
    Ok(())
}

/// Sets the child's PKRU as a tracer.
fn set(sys: &mut dyn System, child: Peer, place: u64, pkru: u32, has_bit: bool) -> Verdict {
    let tracee = Tracee::attach(sys, child)?;
    let state = tracee.state(sys)?;
    state.set(sys, place, pkru, has_bit)?;
    tracee.set_state(sys, &state)?;
    tracee.detach(sys)
}

fn register_can_be_set(sys: &mut dyn System) -> Verdict {
    let child = sys.fork();
    let place = offset(sys, child)?;
    sys.wrpkru(0x0FF0);
    for wanted in [0xFFFF_FFF0, 0, INIT_PKRU, 0x4545_4544, 0xAAAA_AAA8] {
        set(sys, child, place, wanted, true)?;
        tasks::tells(
            sys,
            "the tracee's PKRU",
            child,
            (tasks::rdpkru, 0),
            wanted.into(),
        )?;
        pkru(sys, "the tracer's", 0x0FF0)?;
    }
    Ok(())
}

fn without_the_bit_all_keys_open(sys: &mut dyn System) -> Verdict {
    let child = sys.fork();
    let place = offset(sys, child)?;
    for before in [INIT_PKRU, 0xFFFF_FFF0, 0] {
        tasks::ask(sys, child, tasks::wrpkru, before.into())?;
        set(sys, child, place, 0xFFFF_FFFC, false)?;
        tasks::tells(sys, "the tracee's PKRU", child, (tasks::rdpkru, 0), 0)?;
    }
    Ok(())
}

fn set_rights_are_enforced(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let child = sys.fork();
    let place = offset(sys, child)?;
    set(sys, child, place, INIT_PKRU, true)?;
    let denied = tasks::fault(4, key);
    tasks::tells(
        sys,
        "the child reads what is closed",
        child,
        (tasks::read, page),
        denied,
    )?;
    set(sys, child, place, 0, true)?;
    tasks::tells(
        sys,
        "the child reads what is open",
        child,
        (tasks::read, page),
        BYTE.into(),
    )?;
    value("the tracee's id", sys.id(Some(child)).cast_signed()).map(drop)
}
