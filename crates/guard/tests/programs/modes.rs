//! What a mode and a pardon make of stray writes, and what is said of them: reports, figures, lists.

use serde_json::Value;

use crate::calls::keeper;
use crate::run::{Ended, Guarded};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Keys, a_relaxed_program_comes_to_its_own_result),
    case!(Keys, a_pardon_for_the_context_lasts_until_the_gate),
    case!(Keys, a_silent_guard_counts),
    case!(Nothing, a_guard_that_is_off_does_nothing),
    case!(Keys, lines_of_a_report_name_the_block),
    case!(Keys, a_report_tells_a_person_what_to_do),
    case!(Keys, what_was_learnt_lets_the_program_run),
    case!(Keys, only_what_a_list_can_name_is_learnt),
];

fn in_mode(mode: &str, pardon: &str) -> Guarded {
    keeper().with(|settings| {
        mode.clone_into(&mut settings.mode);
        pardon.clone_into(&mut settings.pardon);
        settings.stats = true;
    })
}

/// How many reports there are.
fn reports(ended: &Ended) -> usize {
    ended.err.matches("pkeys: stray write").count()
}

/// The program does ten stray writes at two places and prints what it all comes to.
fn as_without_a_guard(guarded: &Guarded) -> Ended {
    let plain = guarded.run_plain(&["wild"]);
    plain.code(0);
    assert_eq!(plain.out, "sum 35\n");
    let ended = guarded.run(&["wild"]);
    ended.code(0);
    assert_eq!(ended.out, plain.out, "{}", ended.all());
    ended
}

/// A raw line and a report for each of the two places.
fn a_relaxed_program_comes_to_its_own_result() {
    let ended = as_without_a_guard(&in_mode("relaxed", "instruction"));
    ended.says(&["10 stray writes, 10 pardoned, 2 reported"]);
    assert_eq!(reports(&ended), 4, "{}", ended.all());
}

/// The first of the two writes between two gates opens the key for the second.
fn a_pardon_for_the_context_lasts_until_the_gate() {
    let ended = as_without_a_guard(&in_mode("relaxed", "context"));
    ended.says(&["5 stray writes, 5 pardoned, 1 reported"]);
    assert_eq!(reports(&ended), 2, "{}", ended.all());
}

fn a_silent_guard_counts() {
    let ended = as_without_a_guard(&in_mode("silent", "instruction"));
    ended.says(&["10 stray writes, 10 pardoned, 0 reported"]);
    assert_eq!(reports(&ended), 0, "{}", ended.all());
}

fn a_guard_that_is_off_does_nothing() {
    let ended = as_without_a_guard(&in_mode("off", "instruction"));
    assert_eq!(reports(&ended), 0, "{}", ended.all());
    assert!(!ended.err.contains("1 stray"), "{}", ended.all());
    in_mode("off", "instruction").run(&["calls"]).right(10);
}

fn lines_of_a_report_name_the_block() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reports");
    let guarded = keeper().with(|settings| {
        settings.report = file.to_str().unwrap().to_owned();
    });
    guarded.run(&["block"]).strayed(&[]);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, kind) in lines.iter().zip(["raw", "report"]) {
        assert_eq!(line["kind"], kind);
        assert_eq!(line["domain"], "libstore.so");
        assert_eq!(line["region"], "heap");
        assert_eq!(line["mode"], "strict");
        let block = &line["block"];
        assert_eq!(block["len"], 64);
        assert_eq!(block["offset"], 0);
        assert_eq!(block["start"], line["addr"]);
        assert_eq!(block["origin"], "item_new");
        let advice = block["advice"].as_str().unwrap();
        assert!(advice.ends_with("run with --share item_new"), "{advice}");
    }
    assert_eq!(lines[0]["si_code"], 4, "SEGV_PKUERR");
    assert!(lines[0]["si_pkey"].as_u64().unwrap() > 0);
    let functions: Vec<&str> = lines[1]["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|frame| frame["function"].as_str())
        .collect();
    assert!(
        functions.starts_with(&["stray", "stray_to_block"])
            || functions.starts_with(&["stray_to_block"]),
        "{functions:?}"
    );
}

fn a_report_tells_a_person_what_to_do() {
    let ended = keeper().run(&["block"]);
    ended.strayed(&[
        "  block   byte 0 of 64 bytes at 0x",
        ", allocated in item_new\n",
        ": outside every gate of the library\n",
        "; outside its gates read only\n",
        "  advice  if the program owns what item_new gives it, run with --share item_new\n",
        "keeper.c",
    ]);
    assert!(!ended.err.contains("window"), "{}", ended.all());
}

/// The list that is printed.
fn learnt(ended: &Ended) -> Vec<String> {
    let list = ended
        .err
        .lines()
        .find_map(|line| line.strip_prefix("pkeys guard: libstore.so: --share "));
    list.map_or(Vec::new(), |list| {
        list.split(',').map(str::to_owned).collect()
    })
}

fn what_was_learnt_lets_the_program_run() {
    let learning = in_mode("relaxed", "instruction").with(|settings| {
        settings.learn = true;
        settings.stats = false;
    });
    let list = learnt(&as_without_a_guard(&learning));
    assert_eq!(list, ["item_new"]);
    let strict = keeper().with(|settings| settings.domains[0].share = list);
    let ended = as_without_a_guard(&strict);
    assert_eq!(ended.err, "");
}

/// Not what is on the list already, not a variable, not a block that was freed or that a constructor has made.
fn only_what_a_list_can_name_is_learnt() {
    let learning = in_mode("relaxed", "instruction").with(|settings| {
        settings.learn = true;
        settings.data = true;
    });
    for part in ["counter", "freed", "first"] {
        let ended = learning.run(&[part]);
        ended.code(crate::run::SURVIVED).says(&[
            "1 stray writes went to memory that no exported function gave",
            "no --share is needed",
        ]);
        assert!(learnt(&ended).is_empty(), "{}", ended.all());
    }
    let ended = learning
        .with(|settings| settings.domains[0].share = vec!["item_new".to_owned()])
        .run(&["wild"]);
    ended.code(0).says(&["no --share is needed"]);
}
