//! The line `ProtectionKey:` of `/proc/PID/smaps`.

use crate::calls::{self, PAGE, R, RW, RX, X};
use crate::case::{Case, Verdict};
use crate::check::{equal, gives};
use crate::fixture::{Keyed, code, is_tagged, key_of, keyed, map, open_key, tag, touched};
use crate::system::System;
use crate::tasks;

const LINE: &str = "fs/proc/task_mmu.c, show_smap (arch_pkeys_enabled)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "smaps.every_mapping_has_the_line",
        "Every mapping shows its key: 0 for plain memory, the scratch memory and what is not touched among them.",
        LINE,
        every_mapping_has_the_line,
    ),
    Case::new(
        "smaps.every_key",
        "Each of the 15 keys is shown by its number.",
        LINE,
        every_key,
    ),
    Case::new(
        "smaps.parts_have_their_own",
        "Parts of what was one mapping show their own protection and key.",
        LINE,
        parts_have_their_own,
    ),
    Case::new(
        "smaps.execute_only",
        "Execute-only memory shows the key that the kernel took for it.",
        LINE,
        execute_only,
    ),
    Case::new(
        "smaps.after_free",
        "A freed key is shown as long as pages have it.",
        LINE,
        after_free,
    ),
    Case::new(
        "smaps.is_no_matter_of_rights",
        "The line does not depend on PKRU, nor on the thread that reads it.",
        LINE,
        is_no_matter_of_rights,
    ),
];

fn every_mapping_has_the_line(sys: &mut dyn System) -> Verdict {
    let scratch = sys.scratch().start;
    equal("the key of scratch memory", 0, key_of(sys, scratch)?)?;
    let page = map(sys, 0, 1, R)?;
    is_tagged(sys, "an untouched page", page, R, 0)?;
    let page = touched(sys, 1)?;
    is_tagged(sys, "a touched page", page, RW, 0)?;
    equal("what is not mapped", None, sys.smaps(page + PAGE))
}

fn every_key(sys: &mut dyn System) -> Verdict {
    for key in 1..=15 {
        let page = map(sys, 2 * key, 1, RW)?;
        gives(
            "pkey_alloc",
            key.cast_signed(),
            calls::pkey_alloc(sys, 0, 0),
        )?;
        tag(sys, page, RW, key)?;
    }
    for key in 1..=15 {
        let page = crate::fixture::at(sys, 2 * key);
        is_tagged(sys, "a page", page, RW, key)?;
    }
    Ok(())
}

fn parts_have_their_own(sys: &mut dyn System) -> Verdict {
    let start = map(sys, 0, 4, RW)?;
    let keys = [open_key(sys)?, open_key(sys)?];
    tag(sys, start + PAGE, R, keys[0])?;
    tag(sys, start + 2 * PAGE, RX, keys[1])?;
    let expected = [(RW, 0), (R, keys[0]), (RX, keys[1]), (RW, 0)];
    for (page, (prot, key)) in (start..).step_by(4096).zip(expected) {
        is_tagged(sys, "a part", page, prot, key)?;
        is_tagged(sys, "its last byte", page + PAGE - 1, prot, key)?;
    }
    Ok(())
}

fn execute_only(sys: &mut dyn System) -> Verdict {
    gives("pkey_alloc", 1, calls::pkey_alloc(sys, 0, 0))?;
    let page = code(sys, 0, X)?;
    is_tagged(sys, "execute-only memory", page, X, 2)
}

fn after_free(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    gives("pkey_free", 0, calls::pkey_free(sys, key.cast_signed()))?;
    is_tagged(sys, "a page of a freed key", page, RW, key)
}

fn shown_key(sys: &mut dyn System, addr: u64) -> u64 {
    key_of(sys, addr).unwrap_or(u64::MAX)
}

fn is_no_matter_of_rights(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    sys.wrpkru(!3);
    is_tagged(sys, "a page with all keys closed", page, RW, key)?;
    let thread = sys.thread();
    tasks::tells(
        sys,
        "what a thread is shown",
        thread,
        (shown_key, page),
        key,
    )
}
