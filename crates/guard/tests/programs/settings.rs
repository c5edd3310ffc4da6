//! Settings that cannot be followed: one line, and a documented status.

use crate::calls::clerk;
use crate::run::SURVIVED;
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, an_unknown_function_stops_the_program),
    case!(Nothing, a_library_that_is_not_loaded_is_said),
    case!(Nothing, settings_that_cannot_be_read_stop_the_program),
];

fn an_unknown_function_stops_the_program() {
    let unknown = clerk().with(|settings| {
        settings.domains[0].share = vec!["entry_neww".to_owned()];
    });
    let ended = unknown.run(&["main"]);
    ended
        .code(3)
        .says(&["no function entry_neww; the nearest are entry_new,"]);
    assert_eq!(ended.out, "");
}

fn a_library_that_is_not_loaded_is_said() {
    let absent = clerk().with(|settings| {
        settings.domains[0].libraries = vec!["libnowhere.so.1".to_owned()];
    });
    absent
        .run(&["main"])
        .code(SURVIVED)
        .says(&["nothing was guarded: the program did not load libnowhere.so.1"]);
    let required = absent.with(|settings| settings.require = true);
    let ended = required.run(&["main"]);
    ended.code(4);
    assert_eq!(ended.out, "survived\n", "what was printed is not lost");
}

fn settings_that_cannot_be_read_stop_the_program() {
    for text in ["", "{", "{\"unknown\":1}"] {
        let ended = clerk().run_with(&[], text);
        ended.code(3);
        assert_eq!(ended.out, "", "{text}");
    }
}
