//! The call chain as lines for a person: whose code each is, which one is to blame, and what is left out.

use crate::fault::report::finding::{Finding, Place};
use crate::fault::report::symbols::Function;

/// The function that the standard library puts between its own start of a thread and the program's code.
const START: &str = "__rust_begin_short_backtrace";

/// What follows the name of a function that was inlined into the next one.
pub(super) const INLINED: &str = " (inlined)";

/// Where a C program's threads begin.
const C_STARTS: [&str; 11] = [
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "libc_start_main_stage2",
    "_start",
    "start_thread",
    "start",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
];

/// The parts of Rust's standard library.
const RUST_LIBRARIES: [&str; 3] = ["core", "alloc", "std"];

/// Modules that act on behalf of others.
const C_MODULES: [&[u8]; 5] = [b"libc.so", b"libc-", b"libc.musl", b"ld-", b"[vdso]"];

/// The calls to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines {
    /// Innermost first.
    pub(super) shown: Vec<Line>,
    /// The index of the one to blame: the innermost that is not part of a standard library.
    pub(super) guilty: usize,
    /// How many outer ones are left out: the runtime, before the program's own code begins.
    pub(super) nr_hidden: usize,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    /// File and line, or module and offset.
    pub(super) place: String,
    /// Whether a signal interrupted the thread here, and the lines above are its handler's.
    pub(super) is_below_signal: bool,
}

/// The lines of a finding. `folder` is the current folder.
pub(super) fn lines(finding: &Finding<'_>, folder: Option<&str>) -> Lines {
    let calls: Vec<Call<'_>> = finding.places.iter().flat_map(Call::at).collect();
    let nr_shown = nr_own(&calls);
    let shown = &calls[..nr_shown];
    let guilty = shown.iter().position(|call| !call.is_standard());
    Lines {
        shown: (0..)
            .zip(shown)
            .map(|(index, call)| call.line(index, folder))
            .collect(),
        guilty: guilty.unwrap_or(0),
        nr_hidden: calls.len() - nr_shown,
    }
}

/// One function at one place.
#[derive(Clone, Copy)]
struct Call<'f> {
    place: &'f Place,
    function: &'f Function,
    /// Whether it is the innermost function at its place.
    is_first: bool,
}

impl<'f> Call<'f> {
    fn at(place: &'f Place) -> impl Iterator<Item = Self> {
        let functions = place.functions.iter().enumerate();
        functions.map(move |(index, function)| Self {
            place,
            function,
            is_first: index == 0,
        })
    }

    fn name(&self) -> &'f str {
        self.function.name.as_deref().unwrap_or("")
    }

    /// Whether the function belongs to the standard library of Rust or C, which does what its caller says.
    fn is_standard(&self) -> bool {
        let name = self.name();
        let file = self.function.file.as_deref().unwrap_or("");
        let is_in = |library: &str| file.contains(&format!("/library/{library}/src/"));
        RUST_LIBRARIES.iter().any(|library| {
            name.strip_prefix(library)
                .is_some_and(|rest| rest.starts_with("::"))
        }) || RUST_LIBRARIES.iter().any(|library| is_in(library))
            || self.place.module.is_some_and(|module| {
                C_MODULES
                    .iter()
                    .any(|library| module.file_name().starts_with(library))
            })
    }

    fn line(&self, index: usize, folder: Option<&str>) -> Line {
        let Self {
            place, function, ..
        } = self;
        let mut name = match &function.name {
            Some(name) => printable(name),
            None => "??".to_owned(),
        };
        if function.is_inlined {
            name.push_str(INLINED);
        }
        Line {
            name,
            place: source(function, folder).unwrap_or_else(|| binary(place)),
            is_below_signal: place.is_interrupted && self.is_first && index > 0,
        }
    }
}

/// How many calls there are before those of the runtime, at least one.
fn nr_own(calls: &[Call<'_>]) -> usize {
    let start = calls.iter().position(|call| call.name().contains(START));
    let mut nr_own = start.unwrap_or(calls.len());
    let is_runtime = |name: &str| {
        C_STARTS.contains(&name)
            // What the standard library calls `main` and threads' closures through.
            || start.is_some() && name.starts_with("core::ops::function::FnOnce::call_once")
    };
    while nr_own > 1 && is_runtime(calls[nr_own - 1].name()) {
        nr_own -= 1;
    }
    nr_own.max(1).min(calls.len())
}

fn source(function: &Function, folder: Option<&str>) -> Option<String> {
    let file = printable(shorten(function.file.as_deref()?, folder));
    Some(match function.line {
        Some(line) => format!("{file}:{line}"),
        None => file,
    })
}

fn binary(place: &Place) -> String {
    match (place.module, place.offset()) {
        (Some(module), Some(offset)) => {
            let name = String::from_utf8_lossy(module.file_name()).into_owned();
            format!("{}+{offset:#x}", printable(&name))
        }
        _ => format!("{:#x}", place.pc),
    }
}

/// A path from the current folder, from the registry's packages, or from the standard library's sources.
fn shorten<'f>(file: &'f str, folder: Option<&str>) -> &'f str {
    let in_folder = folder.and_then(|folder| file.strip_prefix(folder)?.strip_prefix('/'));
    let behind = |mark: &str, parts: usize| {
        let rest = file.split_once(mark)?.1;
        let mut rest = Some(rest);
        for _ in 0..parts {
            rest = Some(rest?.split_once('/')?.1);
        }
        rest
    };
    in_folder
        .or_else(|| behind("/registry/src/", 1))
        .or_else(|| behind("/rustlib/src/rust/", 0))
        .or_else(|| {
            file.strip_prefix("/rustc/")
                .and_then(|rest| Some(rest.split_once('/')?.1))
        })
        .unwrap_or(file)
}

/// Without anything that steers a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::sample::{self, function};

    const RUST: &str = "/rustc/abc/library/std/src/x.rs";

    fn place(functions: &[Function]) -> Place {
        Place {
            pc: 0x40_5678,
            is_interrupted: false,
            module: Some(sample::module()),
            functions: functions.to_vec(),
        }
    }

    /// The lines of a chain of functions with these names, of a program of this kind.
    fn lines_of(names: &[&str], file: &str) -> Lines {
        let record = sample::record();
        let mut finding = sample::finding(&record);
        let functions = names.iter().map(|name| function(name, file, 1));
        finding.places = functions.map(|function| place(&[function])).collect();
        lines(&finding, None)
    }

    fn shown(lines: &Lines) -> Vec<&str> {
        lines.shown.iter().map(|line| line.name.as_str()).collect()
    }

    #[test]
    fn the_guilty_one_is_the_first_that_is_not_the_standard_librarys() {
        let record = sample::record();
        let lines = lines(&sample::finding(&record), Some("/home/a/ledgerd"));
        let expected = [
            (
                "core::ptr::write (inlined)",
                "library/core/src/ptr/mod.rs:1555",
                false,
            ),
            ("ledgerd::audit::recount", "src/audit.rs:41", false),
            ("??", "0x7000", false),
        ];
        let seen = lines.shown.iter();
        let seen: Vec<_> = seen
            .map(|line| (&*line.name, &*line.place, line.is_below_signal))
            .collect();
        assert_eq!(seen, expected);
        assert_eq!((lines.guilty, lines.nr_hidden), (1, 0));
        // A generic function of the standard library, by its file; all of the chain, then the first.
        let only = lines_of(&["<T as X>::y"], RUST);
        assert_eq!(only.guilty, 0);
    }

    #[test]
    fn the_c_library_is_not_to_blame() {
        let record = sample::record();
        let mut finding = sample::finding(&record);
        let mut memcpy = place(&[Function {
            name: Some("memcpy".to_owned()),
            ..Function::default()
        }]);
        let mut library = sample::module();
        library.path = b"/lib/libc.so.6";
        memcpy.module = Some(library);
        finding.places.insert(0, memcpy);
        let lines = lines(&finding, None);
        assert_eq!(lines.shown[0].place, "libc.so.6+0x5678");
        assert_eq!(lines.shown[lines.guilty].name, "ledgerd::audit::recount");
    }

    #[test]
    fn what_is_below_main_is_left_out() {
        let rust = [
            "a::inner",
            "a::main",
            "core::ops::function::FnOnce::call_once",
            "std::sys::backtrace::__rust_begin_short_backtrace",
            "std::rt::lang_start",
            "main",
            "__libc_start_main_impl",
            "_start",
        ];
        let lines = lines_of(&rust, "/a/x.rs");
        assert_eq!((shown(&lines), lines.nr_hidden), (rust[..2].to_vec(), 6));
        let c = [
            "f",
            "main",
            "__libc_start_call_main",
            "__libc_start_main",
            "_start",
        ];
        let lines = lines_of(&c, "/a/x.c");
        assert_eq!((shown(&lines), lines.nr_hidden), (c[..2].to_vec(), 3));
        let c = ["f", "start_thread", "clone3"];
        let lines = lines_of(&c, "/a/x.c");
        assert_eq!((shown(&lines), lines.nr_hidden), (vec!["f"], 2));
    }

    #[test]
    fn something_is_always_shown() {
        let lines = lines_of(&["start_thread"], "/a/x.c");
        assert_eq!((shown(&lines), lines.nr_hidden), (vec!["start_thread"], 0));
        let lines = lines_of(
            &["std::sys::backtrace::__rust_begin_short_backtrace", "x"],
            RUST,
        );
        assert_eq!(lines.shown.len(), 1);
        assert_eq!(lines_of(&[], "").shown.len(), 0);
    }

    #[test]
    fn paths_are_named_from_what_the_reader_knows() {
        let folder = Some("/home/a/ledgerd");
        for (path, short) in [
            ("/home/a/ledgerd/src/audit.rs", "src/audit.rs"),
            ("/home/a/ledgerd2/src/x.rs", "/home/a/ledgerd2/src/x.rs"),
            (
                "/rustc/59807616/library/std/src/rt.rs",
                "library/std/src/rt.rs",
            ),
            (
                "/r/lib/rustlib/src/rust/library/core/src/a.rs",
                "library/core/src/a.rs",
            ),
            (
                "/h/.cargo/registry/src/index-1/libc-0.2.1/src/a.rs",
                "libc-0.2.1/src/a.rs",
            ),
            ("/usr/src/x.c", "/usr/src/x.c"),
        ] {
            assert_eq!(shorten(path, folder), short);
        }
        assert_eq!(shorten("/home/a/x.rs", None), "/home/a/x.rs");
    }

    #[test]
    fn names_do_not_steer_the_terminal() {
        let lines = lines_of(&["a\u{1b}[2Jb"], "/a/\u{9b}x.rs");
        assert_eq!(lines.shown[0].name, "a?[2Jb");
        assert_eq!(lines.shown[0].place, "/a/?x.rs:1");
    }
}
