//! Threads, their shadow stacks, and ways out of gates that leave many behind.

use crate::run::{Guarded, has_keys};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, ended_threads_leave_no_mapping),
    case!(Nothing, a_thread_made_in_a_callback_starts_closed),
    case!(Keys, a_thread_made_in_a_callback_strays),
    case!(Nothing, threads_may_end_inside_gates),
    case!(Nothing, gates_nest_deeply),
    case!(Nothing, too_deep_is_a_clear_death),
    case!(Nothing, coroutines_may_be_left_inside_a_gate),
    case!(Keys, the_guards_own_memory_cannot_be_written),
];

fn threads() -> Guarded {
    Guarded::new("threads", &["libstore.so"])
}

fn ended_threads_leave_no_mapping() {
    threads().run(&["ends"]).all_right(1);
}

fn a_thread_made_in_a_callback_starts_closed() {
    threads().run(&["starts"]).all_right(3);
}

fn a_thread_made_in_a_callback_strays() {
    threads().run(&["inside"]).strayed(&["by strays at"]);
}

fn threads_may_end_inside_gates() {
    threads().run(&["leaves"]).all_right(4);
}

fn gates_nest_deeply() {
    threads().run(&["deep"]).all_right(5);
}

/// The shadow stack has room for 16,383 gates; behind it lies a page that nobody can touch.
fn too_deep_is_a_clear_death() {
    let ended = threads().run(&["too-deep"]);
    if has_keys() {
        ended.killed_by(libc::SIGABRT).says(&[
            "pkeys guard: more than 16383 calls into guarded libraries are nested on a thread\n",
        ]);
    } else {
        // Without keys there is no handler that could say so.
        ended.killed_by(libc::SIGSEGV);
    }
}

fn coroutines_may_be_left_inside_a_gate() {
    threads().run(&["contexts"]).all_right(2);
}

/// A shadow stack carries a key of its own; thunks and their descriptors are read-only.
fn the_guards_own_memory_cannot_be_written() {
    threads()
        .run(&["shadow"])
        .strayed(&["domain \"shadow stacks of pkeys guard\""]);
    for part in ["code", "descriptor"] {
        let ended = threads().run(&[part]);
        ended.killed_by(libc::SIGSEGV);
        assert!(!ended.out.contains("survived"), "{}", ended.all());
    }
}
