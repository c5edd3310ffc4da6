//! The two sides of a comparison that cannot run in one process, and what goes between them.
//!
//! The Linux side prints a stream of lines; the comparing side reads it from its standard input as it comes, runs the
//! same programs on our kernel, and prints what it finds. The stream holds little about each program, so the comparing
//! side may have to ask: then it ends with status 4 and the last line
//!
//! ```text
//! need: ARGUMENTS
//! ```
//!
//! The Linux side is run once more, with these arguments, and its stream goes to a new comparing side, which finds in a
//! file what the last one knew. That goes on until the comparing side ends with 0, the kernels agree, with 1, they do not,
//! or with something else, which is handed on. What the arguments mean and what a line holds is the program's own affair;
//! only the number after `steps=` in a line of a batch is looked at here, for the progress display.

use crate::guest::Ended;
use anyhow::{Context, Result, bail};
use core::ops::ControlFlow;
use guest_init::events::Outcome;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// The status of a comparing side that has to know more.
const NEEDS_MORE: i32 = 4;

/// What the last line of such a side starts with.
const NEED: &str = "need: ";

/// How many of the Linux side's lines are kept.
const LAST_WORDS: usize = 5;

/// Takes a line of the stream, and may have had enough.
pub(super) type OnLine<'a> = &'a mut dyn FnMut(&str) -> ControlFlow<()>;

/// The two sides, and who sees what comes of them.
pub(super) struct Sides<'a> {
    /// Runs the Linux side with these arguments, to its end or until its reader breaks off.
    pub(super) linux: &'a mut dyn FnMut(&[String], OnLine<'_>) -> Result<Ended>,
    /// The command of the comparing side, the same in every round.
    pub(super) compare: &'a dyn Fn() -> Command,
    /// Sees what the comparing side prints.
    pub(super) said: &'a mut dyn FnMut(&str),
    /// Sees how many steps the Linux side has done in this round.
    pub(super) steps: &'a mut dyn FnMut(u64),
}

/// What the rounds have shown.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The kernels agree.
    Agree,
    /// They do not; what was said tells where.
    Diverged,
    /// The comparing side ended with another status.
    Nothing(i32),
    /// The Linux side could not do its work.
    NoLinux(Ended),
}

impl Verdict {
    /// What the Linux side says by itself, where nothing is compared with it here.
    pub(super) fn of_linux(ended: Ended) -> Self {
        match ended {
            Ended::Itself(Outcome::Exit(0)) => Self::Agree,
            Ended::Itself(Outcome::Exit(1)) => Self::Diverged,
            other => Self::NoLinux(other),
        }
    }
}

impl Sides<'_> {
    /// Runs rounds until there is a verdict, the first with these arguments for the Linux side.
    pub(super) fn settle(&mut self, args: Vec<String>) -> Result<Verdict> {
        let mut args = args;
        loop {
            let round = self.round(&args)?;
            let is_linux_well = matches!(
                round.linux,
                Ended::Itself(Outcome::Exit(0)) | Ended::Stopped
            );
            match (round.status, round.need) {
                // It has found something in what it got, however much that was.
                (Some(1), _) => return Ok(Verdict::Diverged),
                (Some(NEEDS_MORE), Some(need)) => args = need,
                _ if !is_linux_well => {
                    for line in round.last_words {
                        (self.said)(&format!("Linux side: {line}"));
                    }
                    return Ok(Verdict::NoLinux(round.linux));
                }
                (Some(0), _) => return Ok(Verdict::Agree),
                (Some(status), _) => return Ok(Verdict::Nothing(status)),
                (None, _) => bail!("the comparing side was killed by a signal"),
            }
        }
    }

    /// Runs both sides once.
    fn round(&mut self, args: &[String]) -> Result<Round> {
        let mut compare = (self.compare)()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the comparing side")?;
        let stdin = compare.stdin.take().context("no pipe to write to")?;
        let stdout = compare.stdout.take().context("no pipe to read from")?;
        let mut ear = Ear {
            lines: read_lines(stdout),
            need: None,
        };
        let mut last_words = VecDeque::new();
        let linux = self.feed(args, stdin, &mut ear, &mut last_words);
        ear.hear_the_rest(self.said);
        let status = compare.wait()?.code();
        Ok(Round {
            linux: linux?,
            last_words,
            status,
            need: ear.need,
        })
    }

    /// Hands the stream of the Linux side to the comparing side, which may end before it. Closes the stream in the end,
    /// also where the Linux side has failed: the comparing side must not wait for more.
    fn feed(
        &mut self,
        args: &[String],
        mut stdin: ChildStdin,
        ear: &mut Ear,
        last_words: &mut VecDeque<String>,
    ) -> Result<Ended> {
        let mut broken = None;
        let ended = (self.linux)(args, &mut |line| {
            if let Some(steps) = steps(line) {
                (self.steps)(steps);
            }
            ear.hear(self.said);
            if last_words.len() == LAST_WORDS {
                last_words.pop_front();
            }
            last_words.push_back(line.to_owned());
            match writeln!(stdin, "{line}") {
                Ok(()) => ControlFlow::Continue(()),
                Err(err) => {
                    broken = Some(err);
                    ControlFlow::Break(())
                }
            }
        });
        match broken {
            Some(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(err).context("the stream"),
            _ => ended,
        }
    }
}

/// What came of one round.
#[derive(Debug)]
struct Round {
    linux: Ended,
    /// The end of its stream, where it says why it ends.
    last_words: VecDeque<String>,
    /// The comparing side's status.
    status: Option<i32>,
    /// What it needs.
    need: Option<Vec<String>>,
}

/// Listens to the comparing side.
#[derive(Debug)]
struct Ear {
    lines: Receiver<String>,
    need: Option<Vec<String>>,
}

impl Ear {
    /// Hands on what has been said so far.
    fn hear(&mut self, said: &mut dyn FnMut(&str)) {
        while let Ok(line) = self.lines.try_recv() {
            self.take(&line, said);
        }
    }

    /// Hands on what is said until the end.
    fn hear_the_rest(&mut self, said: &mut dyn FnMut(&str)) {
        while let Ok(line) = self.lines.recv() {
            self.take(&line, said);
        }
    }

    /// Hands on a line, or keeps what it asks for.
    fn take(&mut self, line: &str, said: &mut dyn FnMut(&str)) {
        self.need = need(line);
        if self.need.is_none() {
            said(line);
        }
    }
}

/// The arguments that a line asks for.
fn need(line: &str) -> Option<Vec<String>> {
    let args = line.strip_prefix(NEED)?;
    Some(args.split_whitespace().map(str::to_owned).collect())
}

/// The last number after `steps=` of a batch. Other lines have one as well: what was asked for.
pub(super) fn steps(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix("batch ")?.rsplit_once("steps=")?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Reads lines on a thread of its own, so that neither side waits for us to read.
fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::{Ended, Sides, Verdict, need, steps};
    use anyhow::{Result, bail};
    use core::ops::ControlFlow;
    use guest_init::events::Outcome;
    use std::process::Command;

    /// Everything that a run of rounds has shown.
    #[derive(Debug, Default)]
    struct Seen {
        said: Vec<String>,
        steps: Vec<u64>,
        /// The arguments of each Linux side, and how many of its lines were taken.
        linux: Vec<(String, usize)>,
    }

    /// Rounds between a script and a Linux side that prints its arguments and `stream`, and ends with `linux_status`.
    fn settle(script: &str, stream: &[&str], linux_status: i32) -> (Result<Verdict>, Seen) {
        let mut seen = Seen::default();
        let mut runs = Vec::new();
        let mut linux = |args: &[String], on_line: super::OnLine<'_>| {
            let args = args.join(" ");
            let mut taken = 0;
            for line in [args.as_str()].iter().chain(stream) {
                if on_line(line).is_break() {
                    runs.push((args, taken));
                    return Ok(Ended::Stopped);
                }
                taken += 1;
            }
            runs.push((args, taken));
            Ok(Ended::Itself(Outcome::Exit(linux_status)))
        };
        let verdict = Sides {
            linux: &mut linux,
            compare: &|| {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", script]);
                shell
            },
            said: &mut |line| seen.said.push(line.to_owned()),
            steps: &mut |steps| seen.steps.push(steps),
        }
        .settle(vec!["linux".into(), "--seed=1".into()]);
        seen.linux = runs;
        (verdict, seen)
    }

    #[test]
    fn the_stream_goes_to_the_comparing_side() {
        let stream = ["asked steps=20", "batch 0 steps=10", "batch 1 steps=20"];
        let (verdict, seen) = settle("cat", &stream, 0);
        assert!(matches!(verdict, Ok(Verdict::Agree)), "{verdict:?}");
        assert_eq!(seen.said[0], "linux --seed=1");
        assert_eq!(seen.said[1..], stream);
        assert_eq!(seen.steps, [10, 20]);
        assert_eq!(seen.linux, [("linux --seed=1".to_owned(), 4)]);
    }

    #[test]
    fn what_is_needed_is_run_until_there_is_a_verdict() {
        let script = "read asked; cat > /dev/null
            case \"$asked\" in
            'linux --seed=1') echo differs; echo 'need: linux --detail=5  6'; exit 4;;
            'linux --detail=5 6') echo 'need: linux --detail=5 0'; exit 4;;
            'linux --detail=5 0') echo shrunken; exit 1;;
            esac";
        let (verdict, seen) = settle(script, &["x"], 0);
        assert!(matches!(verdict, Ok(Verdict::Diverged)), "{verdict:?}");
        assert_eq!(seen.said, ["differs", "shrunken"]);
        assert_eq!(seen.linux.len(), 3, "{:?}", seen.linux);
    }

    #[test]
    fn a_comparing_side_that_has_seen_enough_stops_the_linux_side() {
        // More than a pipe holds, so that the end of its reader is noticed.
        let line = "x".repeat(1000);
        let stream = vec![line.as_str(); 10_000];
        let (verdict, seen) = settle("read one; exit 1", &stream, 0);
        assert!(matches!(verdict, Ok(Verdict::Diverged)), "{verdict:?}");
        assert!(seen.linux[0].1 < 10_000, "{:?}", seen.linux);
    }

    #[test]
    fn a_linux_side_that_fails_is_no_agreement() {
        // Nor is what the comparing side makes of a stream that broke off.
        for script in ["cat", "cat; exit 5"] {
            let (verdict, seen) = settle(script, &["1", "2", "3", "4", "no keys"], 3);
            let end = ["1", "2", "3", "4", "no keys"].map(|line| format!("Linux side: {line}"));
            assert!(seen.said.ends_with(&end), "{:?}", seen.said);
            let outcome = match verdict {
                Ok(Verdict::NoLinux(Ended::Itself(outcome))) => outcome,
                other => panic!("{other:?}"),
            };
            assert_eq!(outcome, Outcome::Exit(3));
        }
        // What was found before it failed counts.
        let (verdict, _) = settle("cat; exit 1", &["x"], 139);
        assert!(matches!(verdict, Ok(Verdict::Diverged)), "{verdict:?}");
    }

    #[test]
    fn other_ends_of_the_comparing_side_are_handed_on() {
        for (script, status) in [
            ("cat; exit 2", 2),
            ("cat; exit 4", 4),
            ("cat; echo 'need: a'; echo more; exit 4", 4),
            ("cat; exit 5", 5),
        ] {
            let (verdict, _) = settle(script, &[], 0);
            let found = match verdict {
                Ok(Verdict::Nothing(found)) => found,
                other => panic!("{script}: {other:?}"),
            };
            assert_eq!(found, status, "{script}");
        }
        let (verdict, _) = settle("kill -KILL $$", &[], 0);
        let err = verdict.unwrap_err().to_string();
        assert!(err.contains("killed by a signal"), "{err}");
    }

    #[test]
    fn an_error_of_the_linux_side_is_handed_on() {
        let mut linux = |_: &[String], on_line: super::OnLine<'_>| {
            assert_eq!(on_line("x"), ControlFlow::Continue(()));
            bail!("no QEMU")
        };
        let verdict = Sides {
            linux: &mut linux,
            compare: &|| Command::new("cat"),
            said: &mut |_| {},
            steps: &mut |_| {},
        }
        .settle(Vec::new());
        assert_eq!(verdict.unwrap_err().to_string(), "no QEMU");
    }

    #[test]
    fn lines_are_read() {
        assert_eq!(need("need: --steps 1 --seed 2").unwrap().len(), 4);
        assert_eq!(need("it has need: 1"), None);
        for (line, expected) in [
            ("batch 3 steps=4096 hash=ab", Some(4096)),
            ("batch steps=1 of steps=20", Some(20)),
            ("batch 3 steps=", None),
            ("batch 3 steps=x", None),
            ("batch 3 steps 7", None),
            ("differential 1 seed=7 steps=6400 linux=6.12", None),
        ] {
            assert_eq!(steps(line), expected, "{line}");
        }
    }
}
