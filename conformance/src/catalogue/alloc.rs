//! `pkey_alloc(2)`: which number, which rights, whose register.
//!
//! The order of its checks shows as far as they answer differently: flags and rights are both EINVAL, a key that is not to
//! be had is ENOSPC.

use libc::{EINVAL, ENOSPC};

use crate::calls::{self, DISABLE_ACCESS, DISABLE_WRITE, PAGE, RW};
use crate::case::{Case, Mismatch, Need, Verdict};
use crate::check::{
    INIT_PKRU, allowed, equal, err, faults, gives, pkru, pkuerr, reads, refused, same_pkru,
};
use crate::fixture::{BYTE, keyed, map, open_key, rights, set_rights, tag, with_rights};
use crate::system::System;
use crate::tasks;

const CALL: &str = "pkey_alloc(2); mm/mprotect.c, SYSCALL_DEFINE2(pkey_alloc)";
const MAP: &str = "arch/x86/include/asm/pkeys.h, mm_pkey_alloc";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "alloc.first_key_is_one",
        "A new program's first key is 1: key 0 is allocated from the start.",
        "arch/x86/include/asm/mmu_context.h, init_new_context",
        first_key_is_one,
    ),
    Case::new(
        "alloc.lowest_free_key",
        "The lowest free key is given, also when a lower one was freed meanwhile.",
        MAP,
        lowest_free_key,
    ),
    Case::new(
        "alloc.fifteen_keys_then_enospc",
        "Fifteen keys can be allocated, each once; every further call fails with ENOSPC; all can be freed.",
        "selftest protection_keys.c, test_pkey_alloc_exhaust",
        fifteen_keys_then_enospc,
    ),
    Case::new(
        "alloc.exhaust_with_fork_in_the_middle",
        "A child forked while some keys are allocated can allocate as many as its parent still can.",
        "selftest protection_keys.c, test_pkey_alloc_exhaust; arch/x86/include/asm/mmu_context.h, arch_dup_pkeys",
        exhaust_with_fork_in_the_middle,
    ),
    Case::new(
        "alloc.never_key_zero",
        "Key 0 is not given while it is allocated, however many keys are taken and freed.",
        "selftest protection_keys.c, test_pkey_alloc_free_attach_pkey0",
        never_key_zero,
    ),
    Case::new(
        "alloc.flags_must_be_zero",
        "Any flag is refused with EINVAL, in all 64 bits.",
        CALL,
        flags_must_be_zero,
    ),
    Case::new(
        "alloc.unknown_rights_are_refused",
        "Initial rights beyond PKEY_DISABLE_ACCESS and PKEY_DISABLE_WRITE are refused with EINVAL, in all 64 bits.",
        CALL,
        unknown_rights_are_refused,
    ),
    Case::new(
        "alloc.flags_before_exhaustion",
        "With no key left, a bad flag still fails with EINVAL.",
        CALL,
        flags_before_exhaustion,
    ),
    Case::new(
        "alloc.rights_before_exhaustion",
        "With no key left, bad initial rights still fail with EINVAL.",
        CALL,
        rights_before_exhaustion,
    ),
    Case::new(
        "alloc.initial_rights",
        "The two bits of the key in PKRU become the initial rights, whatever they were.",
        "arch/x86/kernel/fpu/xstate.c, arch_set_user_pkey_access",
        initial_rights,
    ),
    Case::new(
        "alloc.other_keys_are_left_alone",
        "The bits of all other keys in PKRU stay.",
        "arch/x86/kernel/fpu/xstate.c, arch_set_user_pkey_access",
        other_keys_are_left_alone,
    ),
    Case::new(
        "alloc.only_the_callers_register",
        "The PKRU of other threads stays.",
        "pkeys(7); arch/x86/kernel/fpu/xstate.c, arch_set_user_pkey_access",
        only_the_callers_register,
    ),
    Case::new(
        "alloc.failure_changes_nothing",
        "A call that fails leaves PKRU and the allocation map as they were.",
        CALL,
        failure_changes_nothing,
    ),
    Case::new(
        "alloc.keys_are_of_the_process",
        "A key that one thread allocated is allocated for all threads of the process.",
        "arch/x86/include/asm/mmu.h, mm_context_t.pkey_allocation_map",
        keys_are_of_the_process,
    ),
    Case::new(
        "alloc.initial_rights_are_enforced",
        "Initial rights apply to the first access after the call.",
        "pkey_alloc(2)",
        initial_rights_are_enforced,
    ),
    Case::new(
        "alloc.register_stays_what_was_loaded",
        "With all keys allocated and PKRU loaded in its initial state by XRSTOR, it reads as 0 ever after, across system \
         calls and other threads' work.",
        "selftest protection_keys.c, test_pkey_init_state",
        register_stays_what_was_loaded,
    )
    .needs(&[Need::Xrstor]),
];

/// Allocates all keys; gives them.
pub(super) fn all(sys: &mut dyn System) -> Result<Vec<i64>, Mismatch> {
    let keys: Vec<i64> = (0..48)
        .map(|_| calls::pkey_alloc(sys, 0, DISABLE_ACCESS))
        .take_while(|key| *key >= 0)
        .collect();
    equal(
        "the keys of a process that had none",
        (1..=15).collect(),
        keys.clone(),
    )?;
    Ok(keys)
}

fn first_key_is_one(sys: &mut dyn System) -> Verdict {
    gives(
        "the first pkey_alloc(0, 0)",
        1,
        calls::pkey_alloc(sys, 0, 0),
    )
}

fn lowest_free_key(sys: &mut dyn System) -> Verdict {
    all(sys)?;
    for key in [9, 3, 12] {
        gives(
            format_args!("pkey_free({key})"),
            0,
            calls::pkey_free(sys, key),
        )?;
    }
    for key in [3, 9, 12] {
        gives(
            "pkey_alloc with keys 3, 9 and 12 freed",
            key,
            calls::pkey_alloc(sys, 0, 0),
        )?;
    }
    refused(
        "pkey_alloc with none left",
        ENOSPC,
        calls::pkey_alloc(sys, 0, 0),
    )
}

fn fifteen_keys_then_enospc(sys: &mut dyn System) -> Verdict {
    let keys = all(sys)?;
    for call in keys.len()..48 {
        let found = calls::pkey_alloc(sys, 0, 0);
        refused(format_args!("call {call} of pkey_alloc"), ENOSPC, found)?;
    }
    for key in keys {
        gives(
            format_args!("pkey_free({key})"),
            0,
            calls::pkey_free(sys, key),
        )?;
    }
    all(sys).map(drop)
}

fn exhaust_with_fork_in_the_middle(sys: &mut dyn System) -> Verdict {
    for key in 1..=5 {
        gives("pkey_alloc", key, calls::pkey_alloc(sys, 0, 0))?;
    }
    let child = sys.fork();
    let task = (tasks::free_keys as _, 0);
    tasks::tells(sys, "keys that a child can allocate", child, task, 10)?;
    equal(
        "keys that its parent can allocate",
        10,
        tasks::free_keys(sys, 0),
    )
}

fn never_key_zero(sys: &mut dyn System) -> Verdict {
    for _ in 0..3 {
        for key in all(sys)? {
            gives(
                format_args!("pkey_free({key})"),
                0,
                calls::pkey_free(sys, key),
            )?;
        }
    }
    for _ in 0..20 {
        gives("pkey_alloc", 1, calls::pkey_alloc(sys, 0, 0))?;
        gives("pkey_free(1)", 0, calls::pkey_free(sys, 1))?;
    }
    Ok(())
}

/// Values of which a careless kernel looks at some bits only.
const BAD_FLAGS: [u64; 7] = [1, 2, 0x10, 1 << 31, 1 << 32, 1 << 63, u64::MAX];
const BAD_RIGHTS: [u64; 8] = [4, 5, 8, 1 << 31, 1 << 32, (1 << 32) | 1, 1 << 63, u64::MAX];

fn flags_must_be_zero(sys: &mut dyn System) -> Verdict {
    for flags in BAD_FLAGS {
        for rights in 0..4 {
            let found = calls::pkey_alloc(sys, flags, rights);
            refused(
                format_args!("pkey_alloc({flags:#x}, {rights})"),
                EINVAL,
                found,
            )?;
        }
    }
    gives(
        "pkey_alloc(0, 0) afterwards",
        1,
        calls::pkey_alloc(sys, 0, 0),
    )
}

fn unknown_rights_are_refused(sys: &mut dyn System) -> Verdict {
    for rights in BAD_RIGHTS {
        let found = calls::pkey_alloc(sys, 0, rights);
        refused(format_args!("pkey_alloc(0, {rights:#x})"), EINVAL, found)?;
    }
    gives(
        "pkey_alloc(0, 0) afterwards",
        1,
        calls::pkey_alloc(sys, 0, 0),
    )
}

fn flags_before_exhaustion(sys: &mut dyn System) -> Verdict {
    all(sys)?;
    refused(
        "pkey_alloc(1, 0) with no key left",
        EINVAL,
        calls::pkey_alloc(sys, 1, 0),
    )
}

fn rights_before_exhaustion(sys: &mut dyn System) -> Verdict {
    all(sys)?;
    refused(
        "pkey_alloc(0, 4) with no key left",
        EINVAL,
        calls::pkey_alloc(sys, 0, 4),
    )
}

fn initial_rights(sys: &mut dyn System) -> Verdict {
    for before in 0..4 {
        for wanted in 0..4 {
            set_rights(sys, 1, before);
            let key = calls::pkey_alloc(sys, 0, wanted);
            gives("pkey_alloc", 1, key)?;
            let found = rights(sys.rdpkru(), 1);
            equal(
                format_args!("the bits of key 1 after pkey_alloc(0, {wanted}), {before} before"),
                wanted,
                found,
            )?;
            gives("pkey_free(1)", 0, calls::pkey_free(sys, 1))?;
        }
    }
    Ok(())
}

fn other_keys_are_left_alone(sys: &mut dyn System) -> Verdict {
    for pattern in [
        0xFFFF_FFFC,
        0,
        0x5555_5554,
        0xAAAA_AAA8,
        0x1B1B_1B18,
        0xE4E4_E4E4,
    ] {
        for wanted in 0..4 {
            for expected in 1..=15 {
                sys.wrpkru(pattern);
                gives("pkey_alloc", expected, calls::pkey_alloc(sys, 0, wanted))?;
                let key = expected.unsigned_abs();
                pkru(
                    sys,
                    format_args!(
                        "after pkey_alloc(0, {wanted}) gave key {key}, {pattern:#010x} before"
                    ),
                    with_rights(pattern, key, wanted),
                )?;
            }
            for key in 1..=15 {
                gives("pkey_free", 0, calls::pkey_free(sys, key))?;
            }
        }
    }
    Ok(())
}

fn only_the_callers_register(sys: &mut dyn System) -> Verdict {
    let thread = sys.thread();
    let before = tasks::ask(sys, thread, tasks::rdpkru, 0)?;
    for _ in 1..=15 {
        open_key(sys)?;
    }
    pkru(sys, "the caller, with all keys open", 0)?;
    let after = tasks::ask(sys, thread, tasks::rdpkru, 0)?;
    equal("the other thread's PKRU", before, after)
}

fn failure_changes_nothing(sys: &mut dyn System) -> Verdict {
    sys.wrpkru(0x0000_0FF0);
    refused("pkey_alloc(1, 3)", EINVAL, calls::pkey_alloc(sys, 1, 3))?;
    pkru(sys, "after EINVAL for a flag", 0x0000_0FF0)?;
    refused("pkey_alloc(0, 7)", EINVAL, calls::pkey_alloc(sys, 0, 7))?;
    pkru(sys, "after EINVAL for rights", 0x0000_0FF0)?;
    all(sys)?;
    sys.wrpkru(0x0F0F_0F0C);
    refused(
        "pkey_alloc with no key left",
        ENOSPC,
        calls::pkey_alloc(sys, 0, DISABLE_WRITE),
    )?;
    pkru(sys, "after ENOSPC", 0x0F0F_0F0C)
}

fn keys_are_of_the_process(sys: &mut dyn System) -> Verdict {
    let thread = sys.thread();
    tasks::tells(sys, "a thread's pkey_alloc", thread, (tasks::alloc, 0), 1)?;
    let page = map(sys, 0, 1, RW)?;
    tag(sys, page, RW, 1)?;
    gives(
        "the other thread's pkey_alloc",
        2,
        calls::pkey_alloc(sys, 0, 0),
    )?;
    tasks::tells(
        sys,
        "the thread frees the other's key",
        thread,
        (tasks::free, 2),
        0,
    )?;
    refused(
        "pkey_free of a key that the thread freed",
        EINVAL,
        calls::pkey_free(sys, 2),
    )
}

fn initial_rights_are_enforced(sys: &mut dyn System) -> Verdict {
    let fixture = keyed(sys)?;
    let (page, key) = (fixture.page, fixture.key);
    for wanted in 0..4 {
        gives("pkey_free", 0, calls::pkey_free(sys, key.cast_signed()))?;
        gives(
            "pkey_alloc",
            key.cast_signed(),
            calls::pkey_alloc(sys, 0, wanted),
        )?;
        let (read, write) = (sys.read(page), sys.write(page, BYTE));
        if wanted & DISABLE_ACCESS == 0 {
            reads(format_args!("a read with rights {wanted}"), BYTE, read)?;
        } else {
            let fault = pkuerr(page, key, err::READ_KEY);
            faults(
                sys,
                format_args!("a read with rights {wanted}"),
                fault,
                read,
            )?;
        }
        if wanted == 0 {
            allowed("a write with rights 0", write)?;
        } else {
            let fault = pkuerr(page, key, err::WRITE_KEY);
            faults(
                sys,
                format_args!("a write with rights {wanted}"),
                fault,
                write,
            )?;
        }
    }
    Ok(())
}

fn register_stays_what_was_loaded(sys: &mut dyn System) -> Verdict {
    all(sys)?;
    pkru(
        sys,
        "with all keys allocated and access disabled",
        INIT_PKRU,
    )?;
    let thread = sys.thread();
    sys.xrstor_initial_pkru();
    for turn in 0..20_000_u32 {
        let found = sys.rdpkru();
        same_pkru(format_args!("read {turn} after XRSTOR"), 0, found)?;
        match turn % 4000 {
            1000 => {
                let addr = sys.arena().start;
                gives("munmap of nothing", 0, calls::munmap(sys, addr, PAGE))?;
            }
            2000 => {
                let other = u64::from(INIT_PKRU);
                let task = (tasks::wrpkru as _, other);
                tasks::tells(sys, "the other thread's PKRU", thread, task, other)?;
            }
            _ => {}
        }
    }
    Ok(())
}
