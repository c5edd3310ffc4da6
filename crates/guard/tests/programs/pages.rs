//! A library's variables (`--data`), and the memory that it maps (`--mmap`).

use crate::calls::keeper;
use crate::run::{Guarded, SURVIVED};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case!(Nothing, the_library_writes_its_own_variables),
    case!(Keys, a_stray_write_to_a_variable_dies),
    case!(Keys, exported_variables_may_be_the_programs_own),
    case!(Nothing, mapped_memory_is_the_librarys),
    case!(Nothing, mapped_memory_changes),
    case!(Keys, a_stray_write_to_mapped_memory_dies),
    case!(Nothing, a_lock_that_processes_share_is_left_to_the_next),
];

fn with_data() -> Guarded {
    keeper().with(|settings| settings.data = true)
}

fn the_library_writes_its_own_variables() {
    for program in ["keeper", "keeper-now", "keeper-noplt", "keeper-nopie"] {
        let guarded = Guarded::new(program, &["libstore.so"]).with(|settings| settings.data = true);
        guarded
            .variable("CASE_DESTRUCTOR", "1")
            .run(&["calls"])
            .all_right(11);
    }
}

/// With and without a value in the file.
fn a_stray_write_to_a_variable_dies() {
    for part in ["figure", "zeroed", "counter"] {
        with_data()
            .run(&[part])
            .strayed(&["region \"data of the library\""]);
        keeper().run(&[part]).code(SURVIVED);
    }
}

/// The linker gives a program that is not compiled with `-fPIC` the exported variables of a library that it names as its own
/// (`R_X86_64_COPY`): these cannot be guarded.
fn exported_variables_may_be_the_programs_own() {
    let guarded =
        Guarded::new("keeper-nopie", &["libstore.so"]).with(|settings| settings.data = true);
    guarded.run(&["figure"]).code(SURVIVED);
    guarded.run(&["counter"]).strayed(&["data of the library"]);
}

fn with_mmap() -> Guarded {
    Guarded::new("pages", &["libstore.so"]).with(|settings| settings.mmap = true)
}

/// Children of the program stray, and say so.
fn mapped_memory_is_the_librarys() {
    with_mmap().run(&["kinds"]).right(14);
}

fn mapped_memory_changes() {
    with_mmap().run(&["changes"]).right(10);
}

fn a_stray_write_to_mapped_memory_dies() {
    for (part, offset) in [
        ("anonymous", "0x1388"),
        ("file", "0x1388"),
        // Behind a hole another region begins; what was moved, by the program here, is one.
        ("hole", "0x64"),
        ("moved", "0x100c8"),
    ] {
        let place = format!("region \"mmap\" + {offset} ");
        with_mmap().run(&[part]).strayed(&[&place]);
        let without = with_mmap().with(|settings| settings.mmap = false);
        without.run(&[part]).code(SURVIVED);
    }
}

fn a_lock_that_processes_share_is_left_to_the_next() {
    with_mmap().run(&["lock"]).all_right(4);
}
