//! A step with a signal handler of the program's own: what it finds, what it does, how it goes on.

use pkeys_conformance::system::{Frame, Signal, System};
use pkeys_kernel::abi::nr;

use crate::act::{KEY_ZERO, RW, SIGUSR1};
use crate::arena::{PAGE, RET_OFFSET};
use crate::knowledge::Effect;
use crate::op::{Edit, HandledAct, Inside, Way};
use crate::tell::{tell_access, tell_raise, tell_result, tell_signal};
use crate::witness::{What, Witness};

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To PKRU in the frame.
    pub(crate) edit: Edit,
    /// The value for it, and for a WRPKRU.
    pub(crate) pkru: u32,
    /// How the interrupted code goes on.
    pub(crate) way: Way,
    /// What else.
    pub(crate) inside: Inside,
}

/// What came of the act.
enum End {
    Access(Result<Option<u8>, Signal>),
    Raise(Result<Signal, i32>),
}

/// Does the act with that handler, and tells what the handler and the program saw.
pub(crate) fn run<S: System + ?Sized, W: Witness>(
    sys: &mut S,
    act: HandledAct,
    addr: u64,
    plan: Plan,
    seen: &mut W,
) -> Effect {
    let mut runs = 0_u64;
    let mut has_key_zero = false;
    let mut end = None;
    let mut handler = |sys: &mut dyn System, frame: &mut dyn Frame| {
        runs += 1;
        tell_signal(seen, &frame.signal());
        has_key_zero |= do_inside(sys, addr, plan, seen);
        match plan.edit {
            Edit::Keep => {}
            Edit::Set => frame.set_pkru(plan.pkru & !KEY_ZERO),
            Edit::Clear => frame.clear_pkru_in_xstate_bv(),
        }
        // Tried again once: whatever denies it then would deny it for ever.
        if plan.way == Way::Skip || runs > 1 {
            frame.skip();
        }
    };
    let mut body = |sys: &mut dyn System| {
        end = Some(match act {
            HandledAct::Read => End::Access(sys.read(addr).map(Some)),
            HandledAct::Write => End::Access(sys.write(addr, 0xA5).map(|()| None)),
            HandledAct::Call => End::Access(sys.call(addr + RET_OFFSET).map(|()| None)),
            HandledAct::Raise => End::Raise(sys.raise(SIGUSR1)),
        });
    };
    sys.with_handler(&mut handler, &mut body);
    seen.see(What::Runs, runs);
    let mut effect = match end {
        Some(End::Access(result)) => tell_access(seen, result),
        Some(End::Raise(result)) => tell_raise(seen, result),
        None => Effect::default(),
    };
    seen.see(What::Pkru, sys.rdpkru().into());
    effect.has_key_zero = has_key_zero;
    effect
}

/// What the handler does besides. Gives whether key 0 was allocated.
fn do_inside<W: Witness>(sys: &mut dyn System, addr: u64, plan: Plan, seen: &mut W) -> bool {
    match plan.inside {
        Inside::Nothing => {}
        Inside::Read => {
            tell_access(seen, sys.read(addr + 1).map(Some));
        }
        Inside::Wrpkru => sys.wrpkru(plan.pkru & !KEY_ZERO),
        Inside::Mprotect => {
            tell_result(seen, sys.syscall(nr::MPROTECT, [addr, PAGE, RW, 0, 0, 0]));
        }
        Inside::PkeyAlloc => {
            let result = sys.syscall(nr::PKEY_ALLOC, [0; 6]);
            tell_result(seen, result);
            return result == 0;
        }
        Inside::Raise => {
            tell_raise(seen, sys.raise(SIGUSR1));
        }
    }
    false
}
