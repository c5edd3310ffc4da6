//! The example for kernels with page tables of their own runs, and what it tells is so.

#[path = "../examples/own_page_tables.rs"]
mod own_page_tables;

#[test]
fn the_story_comes_to_its_end() {
    // As `cargo run --example` does; it panics at the first thing that is not as told.
    own_page_tables::main();
}

#[test]
fn the_story_tells_of_each_part() {
    let story = own_page_tables::story();
    let lines: Vec<&str> = story.lines().collect();
    let expected = [
        "the clerk has key 1 ",
        "a stray write to page 0x10: SEGV_PKUERR, key 1",
        "a stray write to page 0x11: SEGV_PKUERR, key 1",
        "mprotect to read only keeps key 1;",
        "pkey_set and pkey_get answer while",
        "code that can be run but not read has key 2,",
        "a child wrote its copy,",
        "a stray WRPKRU opened everything; the tick closed keys 1, 2 and 3, 4, 5,",
    ];
    assert_eq!(lines.len(), expected.len(), "{story}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
}
