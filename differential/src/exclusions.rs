//! What random programs never do, with the reason, and which broken kernels are still caught without it.
//!
//! The generator leaves these out when it makes a program (or the worker does, when a step comes where it could not be
//! done), so nothing of a comparison is thrown away afterwards. Most are not about kernels at all: a program that does
//! them does not live to tell, or sees what differs between two runs on one kernel.

use pkeys_kernel::mutant::Mutant;

/// Something that is left out.
#[derive(Debug, Clone, Copy)]
pub struct Exclusion {
    /// What.
    pub what: &'static str,
    /// Why.
    pub reason: &'static str,
    /// A broken kernel of the same corner that is caught all the same.
    pub caught: Mutant,
}

/// All of them.
pub const EXCLUSIONS: &[Exclusion] = &[
    Exclusion {
        what: "WRPKRU with key 0 closed, but for a bare act",
        reason: "the program's own stack and code have key 0: its next instruction faults, for ever",
        caught: Mutant::HandlerKeepsPkru,
    },
    Exclusion {
        what: "pkey_alloc with rights, and execute-only memory, as plain calls once key 0 was freed",
        reason: "the kernel closes key 0 on the caller; they are made as bare acts, which see the register",
        caught: Mutant::FreeRefusesKeyZero,
    },
    Exclusion {
        what: "a call to a page without a planted RET, unless the fetch is certain to fault",
        reason: "what lies there is no code",
        caught: Mutant::FetchIsChecked,
    },
    Exclusion {
        what: "addresses that the kernel chooses: mmap without a fixed address, mremap without a fixed target",
        reason: "they depend on the layout of the process, which is the back end's",
        caught: Mutant::MremapDropsKey,
    },
    Exclusion {
        what: "mremap of more than one page",
        reason: "it says whether neighbours are one mapping, in which stable releases of one version differ: after \
                 MREMAP_DONTUNMAP of memory that was never touched 6.12.107 joins the copy with its neighbour, as the library \
                 does, and 6.12.117 does not; one page is always within one",
        caught: Mutant::MremapDropsKey,
    },
    Exclusion {
        what: "addresses from 2^47 to 2^56",
        reason: "whether they are user space is a matter of the processor: with five levels of page tables they are",
        caught: Mutant::HoleUndoesMprotect,
    },
    Exclusion {
        what: "futex calls that wait",
        reason: "threads take turns, so that nobody would wake the waiter",
        caught: Mutant::UserAccessIgnoresPkru,
    },
    Exclusion {
        what: "a handler of the program's own on an alternate stack of the program's own",
        reason: "with that stack's key closed the handler faults before its first instruction of ours, for ever",
        caught: Mutant::HandlerKeepsPkru,
    },
    Exclusion {
        what: "an alternate stack that cannot be written, outside of children",
        reason: "the next signal kills the process; in a child that is an outcome like any other",
        caught: Mutant::ForkForgetsKeys,
    },
    Exclusion {
        what: "a bare act on a stack in the window, on a thread with an alternate stack of the program's own",
        reason: "a signal frame would lie in the window, and its bytes are not a part of the interface",
        caught: Mutant::FramePkruIgnored,
    },
    Exclusion {
        what: "a bare call on the program's own stack",
        reason: "the address of that stack would be seen",
        caught: Mutant::FetchIsChecked,
    },
    Exclusion {
        what: "mseal outside of children",
        reason: "nothing undoes it, and the window would be full of sealed pages before long",
        caught: Mutant::HoleUndoesMprotect,
    },
    Exclusion {
        what: "on a Linux before 6.12: signals on a stack whose key is closed, and mseal",
        reason: "older kernels kill the process, and have no such call; this library does what 6.12 does",
        caught: Mutant::HandlerKeepsPkru,
    },
];

#[cfg(test)]
mod tests {
    use super::EXCLUSIONS;
    use crate::mutants::UNSEEN;

    #[test]
    fn every_exclusion_has_a_reason_and_a_mutant_that_is_caught() {
        for exclusion in EXCLUSIONS {
            assert!(exclusion.reason.len() > 20, "{}", exclusion.what);
            let is_unseen = UNSEEN.iter().any(|(mutant, _)| *mutant == exclusion.caught);
            assert!(!is_unseen, "{}", exclusion.what);
        }
    }
}
