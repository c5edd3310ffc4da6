//! A C++ library and a program on it, run under the audit library as it is.
//!
//! Where there are protection keys, strays die; where there are none, gates and allocator are tried without keys, which is said.
//! The sources are in `tests/programs`, and are built by the compiler that `cc` finds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use pkeys_guard::settings::{AUDIT_VARIABLE, DomainSettings, Settings, VARIABLE};

const LIBRARY: &str = "libledger.so";

/// How many cases the program has.
const CASES: usize = 27;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

/// The folder with the library and the program, built once.
fn built() -> &'static Path {
    static BUILT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let shared = ["-shared", "-fPIC", "-o", LIBRARY, "ledger.cc"];
        compile(folder.path(), &shared);
        let program = [
            "-o",
            "clerk",
            "clerk.cc",
            "-L.",
            "-lledger",
            "-pthread",
            "-Wl,-rpath,$ORIGIN",
        ];
        compile(folder.path(), &program);
        folder
    });
    folder.path()
}

fn compile(folder: &Path, arguments: &[&str]) {
    let compiler = cc::Build::new()
        .cpp(true)
        .opt_level(1)
        .host("x86_64-unknown-linux-gnu")
        .target("x86_64-unknown-linux-gnu")
        .get_compiler();
    let sources = sources();
    let arguments = arguments
        .iter()
        .map(|argument| match Path::new(argument).extension() {
            Some(extension) if extension == "cc" => sources.join(argument),
            _ => PathBuf::from(argument),
        });
    let done = Command::new(compiler.path())
        .args(["-O1", "-g", "-Wno-psabi"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("a C++ compiler (Debian's package g++)");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// The shared object, beside this test or one folder up.
fn audit_library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folders = own.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join("libpkeys_guard.so"))
        .find(|path| path.is_file());
    found.expect("cargo builds the shared object with the tests")
}

fn has_keys() -> bool {
    pkeys::support().is_ok()
}

fn settings() -> Settings {
    let domain = DomainSettings {
        libraries: vec![LIBRARY.to_owned()],
        ..DomainSettings::default()
    };
    Settings {
        domains: vec![domain],
        mode: "strict".to_owned(),
        pardon: "instruction".to_owned(),
        is_unprotected: !has_keys(),
        trial: -1,
        ..Settings::default()
    }
}

fn run(settings: &Settings, arguments: &[&str]) -> Output {
    let mut command = Command::new(built().join("clerk"));
    command
        .args(arguments)
        .env(AUDIT_VARIABLE, audit_library())
        .env(VARIABLE, serde_json::to_string(settings).unwrap());
    if has_keys() {
        command.env("CLERK_HAS_KEYS", "1");
    } else {
        eprintln!("without keys: nothing is protected here");
    }
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn everything_that_a_call_can_be_works_through_gates() {
    let output = run(&settings(), &[]);
    let said = out(&output);
    assert!(
        output.status.success(),
        "{}\n{said}\n{}",
        output.status,
        err(&output)
    );
    assert!(!said.contains("WRONG"), "{said}");
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        CASES,
        "{said}"
    );
    assert_eq!(err(&output), "", "a clean run says nothing");
}

#[test]
fn calls_pass_gates() {
    let output = run(
        &Settings {
            stats: true,
            ..settings()
        },
        &[],
    );
    let said = err(&output);
    for function in ["entry_balance", "entry_set", "entry_new"] {
        assert!(said.lines().any(|line| line.ends_with(function)), "{said}");
    }
}

#[test]
fn callbacks_are_wrapped() {
    let mut settings = settings();
    settings.domains[0].callbacks = vec![("entry_visit".to_owned(), vec![1])];
    // A callback of this program changes nothing behind the key itself, but for the one that strays.
    let output = run(&settings, &[]);
    assert!(
        output.status.success(),
        "{}\n{}",
        out(&output),
        err(&output)
    );
    stray(&settings, "callback");
}

#[test]
fn strays_die_where_they_stray() {
    for place in ["main", "thread", "handler"] {
        stray(&settings(), place);
    }
}

/// The program strays in that place.
fn stray(settings: &Settings, place: &str) {
    let output = run(settings, &[place]);
    if has_keys() {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGSEGV),
            "{place}: {}",
            err(&output)
        );
        let said = err(&output);
        for part in [
            "stray write to domain \"libledger.so\"",
            "entry_new",
            "--share entry_new",
            "clerk.cc",
        ] {
            assert!(said.contains(part), "{place}: no {part:?} in {said}");
        }
    } else {
        assert_eq!(output.status.code(), Some(7), "{place}: {}", err(&output));
    }
}

#[test]
fn what_is_handed_over_may_be_written() {
    let mut settings = settings();
    if has_keys() {
        let refused = run(&settings, &["handed"]);
        assert!(!refused.status.success(), "{}", out(&refused));
    }
    settings.domains[0].share = vec!["entry_handed_over".to_owned()];
    let output = run(&settings, &["handed"]);
    assert_eq!(output.status.code(), Some(7), "{}", err(&output));
}

#[test]
fn an_unknown_function_stops_the_program() {
    let mut settings = settings();
    settings.domains[0].share = vec!["entry_neww".to_owned()];
    let output = run(&settings, &["main"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(out(&output), "");
    assert!(
        err(&output).contains("no function entry_neww; the nearest are entry_new,"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_library_that_is_not_loaded_is_said() {
    let mut settings = settings();
    settings.domains[0].libraries = vec!["libnowhere.so.1".to_owned()];
    let output = run(&settings, &["main"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(err(&output).contains("nothing was guarded: the program did not load libnowhere.so.1"));
    settings.require = true;
    let output = run(&settings, &["main"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(
        out(&output),
        "survived\n",
        "what the program printed is not lost"
    );
}

#[test]
fn settings_that_cannot_be_read_stop_the_program() {
    for text in ["", "{", "{\"unknown\":1}"] {
        let output = Command::new(built().join("clerk"))
            .env(AUDIT_VARIABLE, audit_library())
            .env(VARIABLE, text)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert_eq!(out(&output), "", "{text}");
    }
}
