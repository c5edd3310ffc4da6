//! `pkeys boot` with an emulator that is a shell script: what is told of a boot, and every way in which one can go wrong.
//!
//! A boot of the image itself is the test tier `boot` of `cargo xtask test`, which brings an emulator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{assert_plain, pkeys, status, stderr, stdout};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = "qemu-system-x86_64";

/// Three cases, all well.
const PASS: &str = "echo 'pkeys: 1 CPUs, 3 cases'; echo 'ok a'; echo 'ok b-2'; echo 'ok c'
    echo 'pkeys: 3 passed, 0 failed'; exit 33";

/// A folder with an emulator in it.
struct Fake {
    folder: TempDir,
}

impl Fake {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(PROGRAM);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with the emulator first on PATH, which finds its own folder in `$HERE`.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pkeys();
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.folder.path().display()))
            .env("HERE", self.folder.path())
            .arg("boot")
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// Boots with a script.
fn boot(script: &str, arguments: &[&str]) -> Output {
    Fake::new(script).run(arguments)
}

#[test]
fn a_pass_is_a_plain_table_in_a_pipe() {
    let output = boot(PASS, &[]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no progress in a pipe");
    let text = stdout(&output);
    assert_plain(&text);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["case", "result", "time"]);
    for (line, name) in lines[1..4].iter().zip(["a", "b-2", "c"]) {
        assert_eq!(line[..2], [name, "ok"]);
        assert_eq!(line[3], "ms");
    }
    assert_eq!(lines[4][..4], ["3", "passed,", "0", "failed"]);
    assert_eq!(lines.len(), 5);
}

#[test]
fn a_failed_case_says_why_and_warnings_stand_where_they_came() {
    let script = "echo 'pkeys: 1 CPUs, 2 cases'; echo 'FAILED a: 3, expected 4'
        echo 'pkeys: a stray write at 0x8 was let through'; echo 'ok b'; echo 'pkeys: 1 passed, 1 failed'; exit 65";
    let output = boot(script, &[]);
    assert_eq!((status(&output), stderr(&output).as_str()), (1, ""));
    let text = stdout(&output);
    let at = |part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    let parts = [
        "FAILED",
        "    3, expected 4",
        "| pkeys: a stray write",
        "ok",
        "1 passed, 1 failed",
    ];
    assert!(parts.map(at).is_sorted(), "{text}");
}

#[test]
fn json_is_an_object_a_case_and_a_summary() {
    let script =
        "echo 'pkeys: 2 CPUs, 2 cases'; echo 'ok a'; echo 'pkeys: warned'; echo 'FAILED b: \"no\"'
        echo 'pkeys: 1 passed, 1 failed'; exit 65";
    let output = boot(script, &["--json", "--smp", "2", "--mode", "silent"]);
    assert_eq!((status(&output), stderr(&output).as_str()), (1, ""));
    let objects = json_lines(&output);
    assert_eq!(objects.len(), 3);
    for (object, name, is_ok, why) in [
        (&objects[0], "a", true, Value::Null),
        (&objects[1], "b", false, "\"no\"".into()),
    ] {
        assert_eq!(
            (&object["kind"], &object["name"]),
            (&"case".into(), &name.into())
        );
        assert_eq!((&object["is_ok"], &object["why"]), (&is_ok.into(), &why));
        assert!(object["seconds"].is_number());
    }
    let summary = &objects[2];
    assert_eq!(summary["kind"], "summary");
    assert_eq!(
        (&summary["schema"], &summary["command"]),
        (&1.into(), &"boot".into())
    );
    assert_eq!(
        (&summary["passed"], &summary["failed"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&summary["is_pass"], &summary["trouble"]),
        (&false.into(), &Value::Null)
    );
    assert_eq!(
        (&summary["cpus"], &summary["guest_cpu"]),
        (&2.into(), &"max".into())
    );
    assert_eq!(summary["append"], "cpus=2 pks=silent pks_stray=silent");
    assert_eq!(summary["console"], Value::from(vec!["pkeys: warned"]));

    let passed = json_lines(&boot(PASS, &["--json"]));
    assert_eq!(passed.last().unwrap()["is_pass"], true);
    let reset = boot(&PASS.replace("33", "0"), &["--json"]);
    assert_eq!(status(&reset), 1);
    let objects = json_lines(&reset);
    assert_eq!(objects.last().unwrap()["is_pass"], false);
    assert_eq!(
        objects.last().unwrap()["trouble"],
        "the machine was reset, after 3 of 3 cases"
    );
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Whatever becomes of the emulator: a status other than 0, one line that says what it was, and no hang.
#[test]
fn a_boot_that_goes_wrong_is_one_clear_line() {
    for (script, arguments, says) in [
        ("exit 1", &[][..], "QEMU ended with status 1, after 0 cases"),
        (
            "echo 'qemu: no such machine' >&2; exit 1",
            &[],
            "QEMU ended with status 1, after 0 cases; it says: qemu: no such machine",
        ),
        // A triple fault under -no-reboot.
        (
            &PASS.replace("33", "0"),
            &[],
            "the machine was reset, after 3 of 3 cases",
        ),
        ("exit 0", &[], "the machine was reset, after 0 cases"),
        ("exit 33", &[], "passed, after 0 cases"),
        (
            &PASS.replace("33", "65"),
            &[],
            "a case failed, after 3 of 3 cases",
        ),
        (
            "exec yes",
            &[],
            "killed after 4 MiB of output, after 0 cases",
        ),
        (
            "exec tr '\\0' '\\377' </dev/zero",
            &[],
            "killed after 4 MiB of output, after 0 cases",
        ),
        (
            "printf '\\033[2J\\000\\377\\nok \\033\\nok A\\nFAILED\\npkeys: x passed, y failed\\r\\n'; exit 33",
            &[],
            "passed, after 0 cases",
        ),
        (
            "echo 'pkeys: 1 CPUs, 3 cases'; echo 'ok a'; echo 'pkeys: 1 passed, 0 failed'; exit 33",
            &[],
            "passed, after 1 of 3 cases",
        ),
        (
            "echo 'pkeys: 1 CPUs, 2 cases'; echo 'ok a'; echo 'pkeys: 2 passed, 0 failed'; exit 33",
            &[],
            "told of 1 passed, 0 failed, says 2 passed, 0 failed",
        ),
        (
            "echo 'pkeys: 1 CPUs, 2 cases'; echo 'ok a'; printf 'ok b'; exit 33",
            &[],
            "passed, after 1 of 2 cases",
        ),
        (
            "echo 'pkeys: 1 CPUs, 2 cases'; echo 'ok a'; kill -KILL $$",
            &[],
            "QEMU was killed by signal 9, after 1 of 2 cases",
        ),
        (PASS, &["--smp", "2"], "1 of 2 CPUs came up"),
        (
            "echo 'pkeys: 8192 KiB of memory are too little'; exit 35",
            &[],
            "the kernel refused to start: 8192 KiB of memory are too little",
        ),
        ("exit 35", &[], "the kernel refused to start, after 0 cases"),
        (
            "echo 'pkeys: 1 CPUs, 1 cases'; echo 'pkeys: page fault at 0x8'; echo ' CPU 0'; exit 67",
            &["--test", "die-null"],
            "the kernel was stopped by an exception, after 0 of 1 cases",
        ),
        ("exit 69", &["--list"], "the kernel panicked, after 0 cases"),
        (
            "echo 'case a'; exit 0",
            &["--list"],
            "the machine was reset, after 1 case",
        ),
    ] {
        let output = boot(script, arguments);
        assert_eq!(status(&output), 1, "{script}: {output:?}");
        assert_eq!(stderr(&output), format!("pkeys: {says}\n"), "{script}");
        assert_plain(&stdout(&output));
    }
}

#[test]
fn a_boot_that_hangs_ends_at_its_time_limit() {
    for script in [
        &PASS.replace("exit", "exec tail -f /dev/null #"),
        "exec >/dev/null 2>&1; exec tail -f /dev/null",
        "trap '' TERM INT HUP; while :; do :; done",
    ] {
        for arguments in [
            &["--time-limit", "0.4"][..],
            &["--time-limit", "0.4", "--list"],
        ] {
            let output = boot(script, arguments);
            assert_eq!(status(&output), 1, "{script}: {output:?}");
            let text = stderr(&output);
            let start = "pkeys: killed at its time limit, after ";
            assert!(text.starts_with(start), "{text}");
            assert!(text.ends_with(" (--time-limit 0.4)\n"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}

#[test]
fn a_report_of_the_kernel_is_shown_and_noise_is_cut() {
    let script = "echo 'pkeys: 1 CPUs, 1 cases'; echo 'pkeys: page fault at 0x8'; echo ' CPU 0, thread 2'; exit 67";
    let text = stdout(&boot(script, &[]));
    assert_eq!(text, "  | pkeys: page fault at 0x8\n  |  CPU 0, thread 2\n");
    let text = stdout(&boot("seq 100000; exit 33", &[]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[199]), (201, "  | 200"));
    assert_eq!(lines[200], "  | more was said, which is not shown");
}

#[test]
fn a_name_that_is_none_is_a_usage_error_with_the_nearest() {
    let script = "echo 'pkeys: no case \"strom\" (did you mean storm?)'; exit 35";
    let output = boot(script, &["--test", "strom"]);
    assert_eq!(status(&output), 2);
    assert_eq!(
        stderr(&output),
        "pkeys: no case \"strom\" (did you mean storm?)\n"
    );
}

#[test]
fn a_list_has_a_name_a_line() {
    let script = "echo 'case a'; echo 'case die-b (ends the kernel, runs by name only)'; exit 33";
    let output = boot(script, &["--list"]);
    assert_eq!((status(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(stdout(&output), "a\ndie-b  ends the kernel: by name only\n");
    let objects = json_lines(&boot(script, &["--list", "--json"]));
    assert_eq!(objects.len(), 2);
    assert_eq!(
        (&objects[1]["name"], &objects[1]["ends_kernel"]),
        (&"die-b".into(), &true.into())
    );
}

/// Without an emulator the error names the package; the program is copied to where no checkout is around it.
#[test]
fn a_missing_emulator_is_named_with_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bin/pkeys");
    fs::create_dir(folder.path().join("bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_pkeys"), &program).unwrap();
    let boot = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.env_clear().env("PATH", "/nonexistent");
        command.arg("boot").args(arguments).output().unwrap()
    };
    for arguments in [&[][..], &["--qemu", "/nonexistent/q"]] {
        let output = boot(arguments);
        assert_eq!(status(&output), 1);
        let text = stderr(&output);
        assert_eq!((text.lines().count(), stdout(&output)), (1, String::new()));
        for part in [PROGRAM, "PATH", "package is qemu-system-x86 "] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(text.contains("/nonexistent/q"), !arguments.is_empty());
    }
    // The folder that is named serves where PATH has none.
    let fake = Fake::new(PASS);
    let output = boot(&["--qemu", fake.folder.path().to_str().unwrap()]);
    assert_eq!(status(&output), 0, "{output:?}");
}

#[test]
fn an_emulator_that_cannot_be_started_is_named() {
    let fake = Fake::new(PASS);
    fs::set_permissions(fake.path(PROGRAM), Permissions::from_mode(0o644)).unwrap();
    let output = fake.run(&[]);
    assert_eq!(status(&output), 1);
    let text = stderr(&output);
    let expected = format!("pkeys: cannot start {}: ", fake.path(PROGRAM).display());
    assert!(text.starts_with(&expected), "{text}");
}

/// Always the emulator, with the kernel that is in the program, and the words of the arguments.
#[test]
fn the_machine_is_the_one_that_was_asked_for() {
    let script = "for word; do echo \"$word\"; done >\"$HERE/words\"
        while [ \"$1\" != -kernel ]; do shift; done; head -c 4 \"$2\" >\"$HERE/kernel\"; exit 1";
    for (arguments, expected) in [
        (&[][..], "-accel tcg -cpu max -smp 1 .* -append cpus=1"),
        (
            &[
                "--guest-cpu",
                "max,-pks",
                "--smp",
                "4",
                "--test",
                "storm",
                "--stray",
                "relaxed",
                "--init-pkru",
                "55555550",
            ],
            "-accel tcg -cpu max,-pks -smp 4 .* -append cpus=4 pks_stray=relaxed init_pkru=0x55555550 test=storm",
        ),
    ] {
        let fake = Fake::new(script);
        fake.run(arguments);
        let words = fs::read_to_string(fake.path("words"))
            .unwrap()
            .replace('\n', " ");
        let (start, end) = expected.split_once(" .* ").unwrap();
        assert!(
            words.contains(start) && words.trim().ends_with(end),
            "{words}"
        );
        assert!(words.contains("-no-reboot"), "{words}");
        assert_eq!(fs::read(fake.path("kernel")).unwrap(), b"\x7fELF");
    }
}

/// Beginning of an emulator's script that says that it is up, and at its end that it still is.
const UP: &str = "trap '' PIPE; exec 8<>\"$HERE/down\" 9>\"$HERE/up\"; echo up >&9
    echo 'pkeys: 1 CPUs, 9 cases'; echo 'ok a'; read -r word <&8";

/// What the emulator does when it gets the second word: nobody should be there any more.
const SURVIVED: &str = "read -r word <&8; echo survived >&9";

/// The emulator does not outlive the command, however that ends.
#[test]
fn nothing_is_left_behind() {
    let signals = [libc::SIGKILL, libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
    for signal in signals.map(Some).into_iter().chain([None]) {
        let fake = Fake::new(&format!("{UP}; echo 'ok b'; echo 'ok c'; {SURVIVED}"));
        let (up, mut down) = (fifo(&fake.path("up")), fifo(&fake.path("down")));
        let mut child = fake
            .command(&[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.nth(1).unwrap().unwrap().starts_with("a "));
        // From here on the emulator alone can write into it.
        let mut heard = File::open(fake.path("up")).unwrap();
        drop(up);
        if let Some(signal) = signal {
            let pid = libc::pid_t::try_from(child.id()).unwrap();
            // SAFETY: the process is this test's own child and was not waited for.
            assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
            assert_eq!(child.wait().unwrap().signal(), Some(signal));
            down.write_all(b"go on\n").unwrap();
        } else {
            // Nobody reads the rows that follow.
            drop(said);
            down.write_all(b"go on\n").unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!((status(&output), stderr(&output).as_str()), (1, ""));
        }
        down.write_all(b"go on\n").unwrap();
        let mut words = String::new();
        heard.read_to_string(&mut words).unwrap();
        assert_eq!(words, "up\n", "{signal:?}");
    }
}

/// A pipe with a name, open at both ends, so that nobody waits for anybody to open it.
fn fifo(path: &Path) -> File {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// The emulator's part when it runs a program: its words on standard output, the kernel's on standard error.
fn program(script: &str, arguments: &[&str]) -> (Fake, Output) {
    let fake = Fake::new(&format!(
        "for word; do echo \"$word\"; done >\"$HERE/words\"\n{script}"
    ));
    let path = fake.path("a program");
    fs::write(&path, "\x7fELF").unwrap();
    let path = path.to_str().unwrap().to_owned();
    let output = fake.run(&[&["--exec", &path], arguments].concat());
    (fake, output)
}

#[test]
fn a_programs_output_and_status_are_the_commands() {
    let script = "printf '\\000\\377\\033[1m\\r\\n\\nno end'
        echo 'pkeys: system call 999 is not supported' >&2; echo 'pkeys: the program exited with status 3' >&2; exit 65";
    let (fake, output) = program(script, &["--env", "A=1", "--", "--x", "a b"]);
    assert_eq!(status(&output), 3);
    assert_eq!(output.stdout, b"\0\xff\x1b[1m\r\n\nno end");
    assert_eq!(stderr(&output), "pkeys: system call 999 is not supported\n");
    let words = fs::read_to_string(fake.path("words")).unwrap();
    let path = fake.path("a program").display().to_string();
    assert!(words.contains(&format!("-initrd\n{path}\n")), "{words}");
    let path = path.replace(' ', "%20");
    let line = format!("-append\ncpus=1 exec={path} arg=--x arg=a%20b env=A=1 log=2\n");
    assert!(words.ends_with(&line), "{words}");
    for (says, ends, expected) in [
        ("exited with status 0", 33, 0),
        ("exited with status 255", 65, 255),
        ("was killed by signal 11", 65, 139),
    ] {
        let (_, output) = program(
            &format!("echo 'pkeys: the program {says}' >&2; exit {ends}"),
            &[],
        );
        assert_eq!(
            (status(&output), stderr(&output).as_str()),
            (expected, ""),
            "{says}"
        );
    }
}

#[test]
fn a_program_that_did_not_come_to_its_end_is_one_clear_line() {
    for (script, says) in [
        ("exit 33", "passed"),
        ("exit 0", "the machine was reset"),
        (
            "echo 'qemu: no' >&2; exit 1",
            "QEMU ended with status 1: qemu: no",
        ),
        ("kill -KILL $$", "QEMU was killed by signal 9"),
        (
            "echo 'pkeys: a program: not an ELF file' >&2; exit 35",
            "the kernel refused to start: a program: not an ELF file",
        ),
        (
            "echo 'pkeys: the program exited with status 0' >&2; exit 65",
            "a case failed",
        ),
        (
            "echo 'pkeys: the program exited with status 1' >&2; exit 33",
            "passed",
        ),
    ] {
        let (_, output) = program(script, &[]);
        assert_eq!(status(&output), 1, "{script}");
        assert_eq!(stderr(&output), format!("pkeys: {says}\n"), "{script}");
    }
    let (_, output) = program("exec tail -f /dev/null", &["--time-limit", "0.4"]);
    assert_eq!(status(&output), 1);
    let says = "pkeys: killed at its time limit (--time-limit 0.4)\n";
    assert_eq!(stderr(&output), says);
}

#[test]
fn a_program_that_cannot_be_read_is_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (path, says) in [
        ("/nonexistent/p", "/nonexistent/p: "),
        ("/", "/: not a file"),
        (empty.path().to_str().unwrap(), ": empty\n"),
    ] {
        let output = boot(PASS, &["--exec", path]);
        assert_eq!(status(&output), 1);
        let text = stderr(&output);
        assert!(text.starts_with("pkeys: ") && text.contains(says), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let long = "x".repeat(2000);
    let (_, output) = program("exit 33", &["--", &long]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("too long"), "{}", stderr(&output));
}
