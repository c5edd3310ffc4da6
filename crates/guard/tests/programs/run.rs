//! A program under the guard: how it is started, and how its end is judged.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use pkeys_guard::settings::{AUDIT_VARIABLE, DomainSettings, Settings, VARIABLE};

use crate::fixtures;

/// Status of a program of the cases that was to stray, and came to its end.
pub(crate) const SURVIVED: i32 = 7;

/// Whether this machine has protection keys.
pub(crate) fn has_keys() -> bool {
    pkeys::support().is_ok()
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

/// A program that is to be guarded.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    program: &'static str,
    pub(crate) settings: Settings,
    variables: Vec<(&'static str, String)>,
}

impl Guarded {
    /// A program with a domain for each of the libraries, in mode strict.
    pub(crate) fn new(program: &'static str, libraries: &[&str]) -> Self {
        let domains = libraries.iter().map(|library| DomainSettings {
            libraries: vec![(*library).to_owned()],
            ..DomainSettings::default()
        });
        let settings = Settings {
            domains: domains.collect(),
            mode: "strict".to_owned(),
            pardon: "instruction".to_owned(),
            is_unprotected: !has_keys(),
            // An emulator is slow.
            report_wait: Some(60),
            trial: -1,
            ..Settings::default()
        };
        Self {
            program,
            settings,
            variables: Vec::new(),
        }
    }

    /// The same with other settings.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The same with a variable of the environment.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Runs it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &serde_json::to_string(&self.settings).unwrap())
    }

    /// Runs it with that text as settings.
    pub(crate) fn run_with(&self, arguments: &[&str], settings: &str) -> Ended {
        let mut command = self.command(arguments);
        command
            .env(AUDIT_VARIABLE, audit_library())
            .env(VARIABLE, settings);
        if !self.settings.is_unprotected {
            command.env("CASE_HAS_KEYS", "1");
        }
        ended(command)
    }

    /// Runs it without a guard.
    pub(crate) fn run_plain(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(fixtures::folder().join(self.program));
        command.args(arguments);
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        status: output.status,
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

impl Ended {
    /// Everything, for the message of a case that fails.
    pub(crate) fn all(&self) -> String {
        let Self { status, out, err } = self;
        format!("{status}\n--- standard output\n{out}\n--- standard error\n{err}")
    }

    /// It ended with that status.
    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.all());
        self
    }

    /// It printed so many lines that something is right, none that it is wrong, and ended well; the guard said nothing.
    #[track_caller]
    pub(crate) fn all_right(&self, cases: usize) -> &Self {
        self.right(cases);
        assert_eq!(self.err, "", "a clean run says nothing: {}", self.all());
        self
    }

    /// The same, and the guard may have said something.
    #[track_caller]
    pub(crate) fn right(&self, cases: usize) -> &Self {
        self.code(0);
        assert!(!self.out.contains("WRONG"), "{}", self.all());
        let right = self.out.lines().filter(|line| line.starts_with("ok "));
        assert_eq!(right.count(), cases, "{}", self.all());
        self
    }

    /// It died of a stray access, and the report has those parts.
    #[track_caller]
    pub(crate) fn strayed(&self, parts: &[&str]) -> &Self {
        self.killed_by(libc::SIGSEGV)
            .says(&["stray write to domain"])
            .says(parts)
    }

    /// It died of that signal.
    #[track_caller]
    pub(crate) fn killed_by(&self, signal: i32) -> &Self {
        assert_eq!(self.status.signal(), Some(signal), "{}", self.all());
        self
    }

    /// Standard error has those parts.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in {}", self.all());
        }
        self
    }

    /// With keys it died of a stray access, and the report has those parts; without it came to its end.
    #[track_caller]
    pub(crate) fn strayed_or_survived(&self, parts: &[&str]) -> &Self {
        if has_keys() {
            self.strayed(parts)
        } else {
            self.code(SURVIVED)
        }
    }
}
