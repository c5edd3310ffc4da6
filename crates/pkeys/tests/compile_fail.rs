//! What must not compile, each case beside a twin that compiles and runs.
//!
//! The twin differs from its case in what the case is about and in nothing else, so that a case does not fail for another
//! reason. The expected errors stand beside the cases; they are one compiler's wording (see `rust-version`) and are
//! written anew by `TRYBUILD=overwrite`, to be read before they are kept.
#![expect(clippy::unwrap_used, reason = "a test")]

use core::cell::Cell;
use core::marker::PhantomData;
#[cfg(debug_assertions)]
use std::collections::BTreeSet;
#[cfg(debug_assertions)]
use std::path::Path;
use std::rc::Rc;

use pkeys::keyed::{self, HashMap, HashSet, KeyedAlloc, KeyedReading, KeyedWriting};
use pkeys::{
    Domain, FileRegion, Heap, Keyed, Reading, ReadingOne, Region, Slot, Window, Writing, WritingOne,
};

#[cfg(debug_assertions)]
fn names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".rs"))
        .collect()
}

/// What compiles does not depend on the optimiser: once, in debug, is enough for something that takes minutes.
#[cfg(debug_assertions)]
#[test]
fn every_case_fails_as_expected_and_its_twin_compiles() {
    assert_eq!(names("compile_fail"), names("compile_pass"));
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
    cases.pass("tests/compile_pass/*.rs");
}

/// Answers whether `T` is `Send` or `Sync`: the constants of the type itself, which exist where `T` is, go before
/// those of the trait, which exist always.
struct Is<T>(PhantomData<T>);

trait IsNot {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> IsNot for Is<T> {}

impl<T: Send> Is<T> {
    const SEND: bool = true;
}

impl<T: Sync> Is<T> {
    const SYNC: bool = true;
}

macro_rules! assert_auto {
    ($($type:ty: $send:literal, $sync:literal;)*) => {
        $(
            assert_eq!(Is::<$type>::SEND, $send, "Send for {}", stringify!($type));
            assert_eq!(Is::<$type>::SYNC, $sync, "Sync for {}", stringify!($type));
        )*
    };
}

#[test]
fn windows_stay_on_their_thread_and_data_go_where_their_elements_may() {
    assert_auto! {
        // The probe itself.
        u64: true, true;
        Cell<u32>: true, false;
        Rc<u32>: false, false;
        // The thread's: never.
        Window<'static>: false, false;
        Reading<'static, u64>: false, false;
        Writing<'static, u64>: false, false;
        ReadingOne<'static, u64>: false, false;
        WritingOne<'static, u64>: false, false;
        KeyedReading<'static, keyed::Vec<u64>>: false, false;
        KeyedWriting<'static, keyed::Vec<u64>>: false, false;
        KeyedAlloc<'static>: false, false;
        keyed::Vec<u64>: false, false;
        // What holds no elements: always.
        Domain: true, true;
        Heap: true, true;
        // As the elements.
        Region<u64>: true, true;
        Region<Cell<u32>>: true, false;
        Region<Rc<u32>>: false, false;
        Slot<u64>: true, true;
        Slot<Cell<u32>>: true, false;
        Slot<Rc<u32>>: false, false;
        FileRegion<u64>: true, true;
        FileRegion<Cell<u32>>: true, false;
        FileRegion<Rc<u32>>: false, false;
        Keyed<keyed::Vec<u64>>: true, true;
        Keyed<keyed::Vec<Cell<u32>>>: true, false;
        Keyed<keyed::Vec<Rc<u32>>>: false, false;
        Keyed<keyed::Box<Cell<u32>>>: true, false;
        Keyed<HashMap<u64, u64>>: true, true;
        Keyed<HashMap<Rc<u32>, u64>>: false, false;
        Keyed<HashMap<u64, Rc<u32>>>: false, false;
        Keyed<HashMap<u64, Cell<u32>>>: true, false;
        Keyed<HashMap<u64, u64, Cell<u32>>>: true, false;
        Keyed<HashMap<u64, u64, Rc<u32>>>: false, false;
        Keyed<HashSet<Rc<u32>>>: false, false;
        Keyed<HashSet<u64, Rc<u32>>>: false, false;
    }
}
