//! Children, and what a program executes in its own place: who of them is guarded.

use crate::run::{Ended, Guarded, SURVIVED, has_keys};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, children_run_unguarded),
    case!(Nothing, children_that_inherit_are_guarded),
    case!(Nothing, what_is_executed_in_place_stays_guarded),
    case!(Nothing, an_execution_that_fails_comes_back),
    case!(Nothing, a_fork_is_guarded_as_its_parent_is),
    case!(Nothing, forks_among_busy_threads),
    case!(Nothing, every_end_of_a_program_is_noticed),
];

/// How many functions there are that execute a program.
const FUNCTIONS: usize = 11;
/// How many other ways to a child.
const OTHERS: usize = 7;

fn children() -> Guarded {
    Guarded::new("children", &["libstore.so"])
}

/// Every child ended like that.
#[track_caller]
fn all_ended(ended: &Ended, count: usize, how: char) {
    ended.code(0);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), count, "{}", ended.all());
    for line in lines {
        assert!(
            line.ends_with(&format!(" {how}")),
            "{line}: {}",
            ended.all()
        );
    }
}

fn children_run_unguarded() {
    for (part, count) in [("forks", FUNCTIONS), ("others", OTHERS)] {
        let ended = children().run(&[part]);
        all_ended(&ended, count, 's');
        assert_eq!(ended.err, "");
    }
}

fn children_that_inherit_are_guarded() {
    let inherited = children().with(|settings| {
        settings.inherit = true;
        settings.require = true;
    });
    // A shell has no such library, and is required to: it ends with status 4 instead, where it does not execute at once.
    for (part, count) in [("forks", FUNCTIONS), ("others", OTHERS)] {
        let ended = inherited.run(&[part]);
        all_ended(&ended, count, if has_keys() { 'd' } else { 's' });
    }
}

fn what_is_executed_in_place_stays_guarded() {
    for which in 0..FUNCTIONS {
        let guarded = children().variable("CASE_WHICH", which.to_string());
        let ended = guarded.run(&["place"]);
        if has_keys() {
            ended.strayed(&["by child at"]);
        } else {
            ended.code(SURVIVED);
        }
        guarded.run_plain(&["place"]).code(SURVIVED);
    }
}

fn an_execution_that_fails_comes_back() {
    children().run(&["nowhere"]).all_right(4);
}

fn a_fork_is_guarded_as_its_parent_is() {
    children().run(&["stray"]).right(4);
}

fn forks_among_busy_threads() {
    children().run(&["busy"]).all_right(1);
}

/// By `_exit`, by `quick_exit`, and as usual: what is to be said is said once, and the status is the program's.
fn every_end_of_a_program_is_noticed() {
    let counted = children().with(|settings| settings.stats = true);
    for (part, status) in [("exit", 6), ("quick", 5), ("child", SURVIVED)] {
        let silent = counted
            .clone()
            .with(|settings| "silent".clone_into(&mut settings.mode));
        let ended = silent.run(&[part]);
        ended.code(status);
        let said = ended.err.matches("calls through").count();
        assert_eq!(said, 1, "{part}: {}", ended.all());
        let short = children().with(|settings| {
            settings.domains[0].libraries = vec!["libnowhere.so".to_owned()];
            settings.require = true;
        });
        short.run(&[part]).code(4).says(&["nothing was guarded"]);
    }
}
