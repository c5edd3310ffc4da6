//! The report for a person: what, where, who, with which rights, what was done, and the calls that led there.

use core::fmt::{self, Display, Write as _};

use anstyle::{AnsiColor, Style};
use pkeys_core::Mode;

use crate::fault::report::calls::{self, Line, Lines};
use crate::fault::report::finding::{Extent, Finding};
use crate::fault::report::record::{access_word, rights_words};
use crate::fault::stray::{History, Stray};

/// How wide the column of function names may get, in characters.
const NAME_COLUMN: usize = 44;

/// How things are set off from each other; not at all where there is no colour.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Palette {
    alarm: Style,
    label: Style,
    dim: Style,
}

impl Palette {
    /// For a terminal that shows colours.
    pub(super) const COLOURS: Self = Self {
        alarm: AnsiColor::BrightRed.on_default().bold(),
        label: AnsiColor::Cyan.on_default(),
        dim: Style::new().dimmed(),
    };
}

/// The whole text, with its last line break. `folder` is the current folder, from which source files are named.
pub(super) fn text(finding: &Finding<'_>, palette: &Palette, folder: Option<&str>) -> String {
    let lines = calls::lines(finding, folder);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_head(&mut text, finding, &lines, palette);
    let _ = write_facts(&mut text, finding, palette);
    let _ = write_calls(&mut text, &lines, palette);
    let _ = write_end(&mut text, finding, &lines, palette);
    text
}

/// One line that says it all.
fn write_head(
    out: &mut String,
    finding: &Finding<'_>,
    lines: &Lines,
    palette: &Palette,
) -> fmt::Result {
    let Finding { record, stray, .. } = finding;
    write!(out, "pkeys: ")?;
    let what = format_args!(
        "stray {} to domain {:?}",
        access_word(stray.access),
        stray.domain()
    );
    write!(out, "{}", styled(palette.alarm, what))?;
    if let Some(Line { name, place, .. }) = lines.shown.get(lines.guilty) {
        write!(
            out,
            " by {} at {place}",
            name.trim_end_matches(calls::INLINED)
        )?;
    }
    let done = if stray.is_pardoned {
        "let through"
    } else {
        "stopped"
    };
    write!(out, ", {done} ")?;
    let number = format_args!("(report {})", record.sequence);
    writeln!(out, "{}", styled(palette.dim, number))
}

fn write_facts(out: &mut String, finding: &Finding<'_>, palette: &Palette) -> fmt::Result {
    let Finding { record, stray, .. } = finding;
    let place = format!(
        "region {:?} + {:#x} ({} of {} bytes), address {:#x}",
        stray.region,
        stray.offset_bytes(),
        stray.offset_bytes(),
        stray.region_len_bytes,
        stray.addr
    );
    let block = block(stray);
    let advice = stray.block.map(|block| block.advice.to_owned());
    let name = String::from_utf8_lossy(record.thread_name());
    let past = past(finding);
    let thread = format!("{} {name:?} of process {}: {past}", stray.tid, record.pid);
    for (label, value) in [
        ("where", Some(place)),
        ("block", block),
        ("thread", Some(thread)),
        ("rights", Some(rights(stray))),
        ("now", Some(now(finding))),
        ("mode", Some(mode(stray))),
        ("advice", advice.filter(|advice| !advice.is_empty())),
    ] {
        let Some(value) = value else { continue };
        let label = format_args!("{label:<7}");
        writeln!(out, "  {} {value}", styled(palette.label, label))?;
    }
    Ok(())
}

/// The block of an allocator that the address lies in.
fn block(stray: &Stray) -> Option<String> {
    let block = stray.block?;
    let offset = stray.addr.wrapping_sub(block.start);
    let mut text = format!(
        "byte {offset} of {} bytes at {:#x}",
        block.len_bytes, block.start
    );
    if !block.origin.is_empty() {
        let _ = write!(text, ", allocated in {}", block.origin);
    }
    Some(text)
}

/// What is known of the thread's past with the domain.
fn past(finding: &Finding<'_>) -> &'static str {
    let is_in_handler = finding.is_in_signal_handler() == Some(true);
    if finding.stray.has_gates {
        return past_gates(finding.stray.history, is_in_handler);
    }
    match (finding.stray.history, finding.is_thread_older) {
        (History::Closed, _) => "it has no window open",
        (History::Window, _) => "its open windows allow less",
        (History::SignalHandler, _) if is_in_handler => {
            "in a signal handler, where the windows of the interrupted code do not count"
        }
        (History::SignalHandler, _) => {
            "in a signal handler, or out of one by siglongjmp, where windows opened before do not count"
        }
        (History::Untouched, _) if is_in_handler => "in a signal handler, without a window",
        (History::Untouched, Some(true)) => {
            "it is older than the domain and has never had a window on it"
        }
        (History::Untouched, _) => "it has never had a window on the domain",
        (History::Unknown, _) => "no window is open that allows it",
    }
}

/// The same where gates open the key.
fn past_gates(history: History, is_in_handler: bool) -> &'static str {
    match history {
        History::Closed | History::Window => "outside every gate of the library",
        History::SignalHandler | History::Untouched if is_in_handler => {
            "in a signal handler, where the gates of the interrupted code do not count"
        }
        History::SignalHandler | History::Untouched => {
            "outside every gate, with the rights that the kernel gives to signal handlers"
        }
        History::Unknown => "no gate of the library is open",
    }
}

/// What the thread could do, and what it could have without a window.
fn rights(stray: &Stray) -> String {
    let mut text = match (stray.rights_at_fault, stray.register_at_fault) {
        (Some(rights), Some(register)) => {
            let rights = rights_words(rights);
            format!("{rights} at the fault (PKRU {:#010x}); ", register.bits())
        }
        _ => "no key, mprotect(2) for all threads at once; ".to_owned(),
    };
    text.push_str(match stray.has_gates {
        true => "outside its gates ",
        false => "without a window ",
    });
    text.push_str(rights_words(stray.closed));
    let (reads, writes) = (stray.grants.reads(), stray.grants.writes());
    if (reads, writes) != (0, 0) {
        let _ = write!(text, "; windows open: {reads} to read, {writes} to write");
    }
    text
}

/// The page as it is by now, which is no longer the moment of the fault.
fn now(finding: &Finding<'_>) -> String {
    let page = &finding.page;
    let Some(permissions) = &page.permissions else {
        return "the page is not mapped any more".to_owned();
    };
    let key = page.pkey.map(|pkey| format!(" with key {pkey}"));
    let key = key.unwrap_or_default();
    format!("page {permissions}{key}, seen after the fault: it may have changed in between")
}

fn mode(stray: &Stray) -> String {
    let done = match (stray.mode, stray.is_pardoned) {
        (Mode::Strict, false) => "it did not happen; next is the program's own handler, or its end",
        (_, false) => "to be stopped all the same; next is the program's own handler, or its end",
        (Mode::Relaxed, true) => "let through, and told once for each place in the code",
        (_, true) => "let through",
    };
    format!("{}, {done}", stray.mode)
}

fn write_calls(out: &mut String, lines: &Lines, palette: &Palette) -> fmt::Result {
    writeln!(out, "  {}", styled(palette.label, "calls"))?;
    let widths = lines.shown.iter().map(|line| line.name.chars().count());
    let width = widths.max().unwrap_or(0).min(NAME_COLUMN);
    for (index, line) in lines.shown.iter().enumerate() {
        let Line {
            name,
            place,
            is_below_signal,
        } = line;
        if *is_below_signal {
            let note = "-- called by a signal, which interrupted --";
            writeln!(out, "      {}", styled(palette.dim, note))?;
        }
        let (mark, style) = match index {
            _ if index == lines.guilty => ("->", palette.alarm),
            _ if index < lines.guilty => ("  ", palette.dim),
            _ => ("  ", Style::new()),
        };
        let call = format_args!("{mark} {name:<width$}");
        let (call, place) = (styled(style, call), styled(palette.dim, place));
        writeln!(out, "   {call}  {place}")?;
    }
    Ok(())
}

/// What the calls do not show.
fn write_end(
    out: &mut String,
    finding: &Finding<'_>,
    lines: &Lines,
    palette: &Palette,
) -> fmt::Result {
    let mut note = |note: &dyn Display| writeln!(out, "      {}", styled(palette.dim, note));
    if lines.nr_hidden > 0 {
        note(&format_args!("and {} of the runtime", lines.nr_hidden))?;
    }
    match finding.extent {
        Extent::Complete => Ok(()),
        Extent::Partial => note(&"not followed further: no unwind information, or too many"),
        Extent::Abandoned => note(&"not followed: the thread has stopped waiting for its report"),
    }
}

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::record::Record;
    use crate::fault::report::sample;
    use pkeys_core::{GrantCounts, Rights};

    const PLAIN: Palette = Palette {
        alarm: Style::new(),
        label: Style::new(),
        dim: Style::new(),
    };

    fn rendered(record: &Record, change: impl FnOnce(&mut Finding<'_>)) -> String {
        let mut finding = sample::finding(record);
        change(&mut finding);
        text(&finding, &PLAIN, Some("/home/a/ledgerd"))
    }

    #[test]
    fn a_report_is_one_screen_that_says_all() {
        let expected = "\
pkeys: stray write to domain \"ledger\" by ledgerd::audit::recount at src/audit.rs:41, stopped (report 7)
  where   region \"orders\" + 0x1234 (4660 of 2097152 bytes), address 0x7f0000001234
  thread  4242 \"worker\" of process 4200: it is older than the domain and has never had a window on it
  rights  no access at the fault (PKRU 0x55555554); without a window read only
  now     page rw-p with key 3, seen after the fault: it may have changed in between
  mode    strict, it did not happen; next is the program's own handler, or its end
  calls
      core::ptr::write (inlined)  library/core/src/ptr/mod.rs:1555
   -> ledgerd::audit::recount     src/audit.rs:41
      ??                          0x7000
";
        assert_eq!(rendered(&sample::record(), |_| {}), expected);
    }

    #[test]
    fn a_pardon_and_open_windows_are_said() {
        let mut record = sample::record();
        let stray = record.stray.as_mut().unwrap();
        stray.is_pardoned = true;
        stray.mode = Mode::Relaxed;
        stray.history = History::Window;
        stray.grants = GrantCounts::EMPTY.open(Rights::ReadOnly);
        let text = rendered(&record, |_| {});
        for part in [
            "src/audit.rs:41, let through (report 7)\n",
            ": its open windows allow less\n",
            "; windows open: 1 to read, 0 to write\n",
            "  mode    relaxed, let through, and told once for each place in the code\n",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn where_gates_open_the_key_nothing_is_said_of_windows() {
        let mut record = sample::record();
        for (history, expected) in [
            (History::Closed, ": outside every gate of the library\n"),
            (
                History::Untouched,
                ": outside every gate, with the rights that the kernel",
            ),
        ] {
            let stray = record.stray.as_mut().unwrap();
            stray.has_gates = true;
            stray.history = history;
            let text = rendered(&record, |_| {});
            assert!(text.contains(expected), "{text}");
            assert!(text.contains("; outside its gates read only\n"), "{text}");
            assert!(!text.contains("window"), "{text}");
        }
        record.stray.as_mut().unwrap().history = History::Untouched;
        let text = rendered(&record, |finding| {
            finding.places[1].is_interrupted = true;
        });
        assert!(
            text.contains("where the gates of the interrupted code do not"),
            "{text}"
        );
    }

    #[test]
    fn a_block_is_said_with_what_to_do() {
        let mut record = sample::record();
        let stray = record.stray.as_mut().unwrap();
        stray.block = Some(sample::block());
        let text = rendered(&record, |_| {});
        for part in [
            "  block   byte 20 of 64 bytes at 0x7f0000001220, allocated in entry_new\n",
            "  advice  run with --share entry_new\n",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn a_domain_without_a_key_is_reported_as_such() {
        let mut record = sample::record();
        let stray = record.stray.as_mut().unwrap();
        stray.rights_at_fault = None;
        stray.register_at_fault = None;
        stray.history = History::Unknown;
        let text = rendered(&record, |finding| {
            finding.page.pkey = None;
        });
        for part in [
            ": no window is open that allows it\n",
            "  rights  no key, mprotect(2) for all threads at once; without a window read only\n",
            "  now     page rw-p, seen after",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn a_signal_handler_is_set_off_from_what_it_interrupted() {
        let mut record = sample::record();
        record.stray.as_mut().unwrap().history = History::SignalHandler;
        let text = rendered(&record, |finding| {
            finding.places[1].is_interrupted = true;
        });
        assert!(text.contains(": in a signal handler, where"), "{text}");
        let calls = "src/audit.rs:41\n      -- called by a signal, which interrupted --\n      ??";
        assert!(text.contains(calls), "{text}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let record = sample::record();
        let partial = rendered(&record, |finding| finding.extent = Extent::Partial);
        assert!(partial.ends_with("not followed further: no unwind information, or too many\n"));
        let abandoned = rendered(&record, |finding| {
            finding.extent = Extent::Abandoned;
            finding.page.permissions = None;
        });
        assert!(abandoned.ends_with("the thread has stopped waiting for its report\n"));
        assert!(abandoned.contains("  now     the page is not mapped any more\n"));
        let empty = rendered(&record, |finding| finding.places.clear());
        assert!(
            empty.contains("domain \"ledger\", stopped (report 7)\n"),
            "{empty}"
        );
    }

    /// Taking the colours away gives the plain text.
    #[test]
    fn colours_change_nothing_else() {
        let record = sample::record();
        let coloured = text(&sample::finding(&record), &Palette::COLOURS, None);
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_ne!(coloured, plain);
        assert_eq!(plain, text(&sample::finding(&record), &PLAIN, None));
    }
}
