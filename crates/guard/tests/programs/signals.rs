//! Signals: the program's own handlers see what they would see without a guard.

use crate::run::Guarded;
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, a_handler_for_faults_is_the_programs),
    case!(Keys, a_stray_reaches_the_programs_handler),
    case!(Nothing, handlers_on_another_stack_pass_gates),
    case!(Keys, a_handler_inside_a_gate_strays),
    case!(Nothing, a_handler_for_once_and_one_that_ignores),
];

fn signals() -> Guarded {
    Guarded::new("signals", &["libstore.so"])
}

fn a_handler_for_faults_is_the_programs() {
    signals().run_plain(&["chains"]).right(11);
    signals().run(&["chains"]).all_right(11);
}

/// Each time: the report comes first.
fn a_stray_reaches_the_programs_handler() {
    let ended = signals().run(&["own"]);
    ended.right(6);
    assert_eq!(
        ended.err.matches("stopped (report").count(),
        3,
        "{}",
        ended.all()
    );
}

fn handlers_on_another_stack_pass_gates() {
    signals().run(&["stacks"]).all_right(13);
}

fn a_handler_inside_a_gate_strays() {
    signals()
        .run(&["handler"])
        .strayed(&["by strays at", "in a signal handler"]);
}

/// `sysv_signal(3)` resets; a fault that is ignored kills all the same.
fn a_handler_for_once_and_one_that_ignores() {
    for part in ["sysv", "ignored"] {
        let plain = signals().run_plain(&[part]);
        plain.killed_by(libc::SIGSEGV);
        assert_eq!(signals().run(&[part]), plain, "{part}");
    }
}
