//! Arguments into the kernel's command line, whose words `image/src/options.rs` explains.
//!
//! The words are checked by the kernel, which names what it does not know. Checked here is what would make another word of
//! itself (blanks), what the kernel could not read to its end (its line has a length), and what can be told without a boot.

use core::fmt::Write as _;
use core::time::Duration;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pkeys::{Access, KeyRegister, Pkey};

use super::Args;
use crate::failure::Failure;

/// What the kernel reads of its command line, without the zero byte behind it (`image/src/boot/mod.rs`).
const MAX_LINE_LEN_BYTES: usize = 1023;

/// The words that every boot has.
pub(super) fn common(args: &Args) -> String {
    let mut line = format!("cpus={}", args.smp);
    let mut add = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(line, " {name}={value}");
        }
    };
    add("pks", args.shared.as_ref().or(args.mode.as_ref()));
    add("pks_stray", args.stray.as_ref().or(args.mode.as_ref()));
    let init_pkru = args.init_pkru.map(|bits| format!("{bits:#x}"));
    add("init_pkru", init_pkru.as_ref());
    line
}

/// Adds the words of a program: its path, its arguments, its environment.
pub(super) fn add_program(line: &mut String, program: &Path, args: &Args) -> Result<(), Failure> {
    let words = [("exec", program.as_os_str())].into_iter();
    let words = words.chain(args.args.iter().map(|arg| ("arg", arg.as_os_str())));
    let words = words.chain(
        args.env
            .iter()
            .map(|variable| ("env", OsStr::new(variable))),
    );
    for (name, value) in words {
        let _ = write!(line, " {name}={}", encode(value.as_bytes()));
    }
    line.push_str(" log=2");
    if line.len() > MAX_LINE_LEN_BYTES {
        return Err(Failure::Usage(format!(
            "the program's path, arguments and environment are too long: {} bytes of {MAX_LINE_LEN_BYTES}",
            line.len()
        )));
    }
    Ok(())
}

/// Text in which every byte but letters, digits and some signs is `%` and two hexadecimal digits.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/._-=:,+@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Reads a value of PKRU. One that closes key 0 would stop every program at its first access.
pub(super) fn init_pkru(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // What `from_str_radix` takes for a sign is no digit.
    let bits = Some(digits)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or("expected a register of 32 bits in hexadecimal, as 0x55555554")?;
    let is_open = |access| KeyRegister::from_bits(bits).allows(Pkey::DEFAULT, access);
    if is_open(Access::Read) && is_open(Access::Write) {
        Ok(bits)
    } else {
        Err("closes key 0, which every program needs".to_owned())
    }
}

/// Reads the name of a case: one word. Whether there is such a case is the kernel's to say.
pub(super) fn case_name(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("expected the name of a case, as --list prints them".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a variable of an environment.
pub(super) fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Reads a time limit: seconds, with a fraction if need be.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|limit| *limit > Duration::ZERO)
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::MODES;
    use clap::Parser;
    use pkeys::Mode;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        boot: Args,
    }

    fn parse(line: &[&str]) -> Args {
        Cli::try_parse_from([&["boot"], line].concat())
            .unwrap()
            .boot
    }

    #[test]
    fn one_mode_is_for_both_knobs_and_each_has_its_own() {
        for (arguments, line) in [
            (&[][..], "cpus=1"),
            (&["--mode", "silent"], "cpus=1 pks=silent pks_stray=silent"),
            (&["--stray", "off", "--smp", "64"], "cpus=64 pks_stray=off"),
            (
                &["--mode", "strict", "--shared", "relaxed"],
                "cpus=1 pks=relaxed pks_stray=strict",
            ),
            (
                &["--init-pkru", "0x55555550"],
                "cpus=1 init_pkru=0x55555550",
            ),
        ] {
            assert_eq!(common(&parse(arguments)), line);
        }
    }

    #[test]
    fn the_modes_are_all_that_there_are() {
        assert_eq!(MODES, Mode::ALL.map(Mode::name));
    }

    #[test]
    fn a_program_comes_with_anything_in_its_arguments() {
        let args = parse(&[
            "--exec", "a b", "--env", "A=\u{e9}", "--", "--x=1", "", "50%", "a\nb",
        ]);
        let mut line = common(&args);
        add_program(&mut line, Path::new("a b"), &args).unwrap();
        assert_eq!(
            line,
            "cpus=1 exec=a%20b arg=--x=1 arg= arg=50%25 arg=a%0Ab env=A=%C3%A9 log=2"
        );
    }

    #[test]
    fn a_line_that_the_kernel_could_not_read_is_refused() {
        let long = "x".repeat(MAX_LINE_LEN_BYTES - "cpus=1 exec=p arg= log=2".len());
        for (argument, is_taken) in [(long.clone(), true), (long + "x", false)] {
            let args = parse(&["--exec", "p", "--", &argument]);
            let mut line = common(&args);
            let added = add_program(&mut line, Path::new("p"), &args);
            assert_eq!(added.is_ok(), is_taken, "{}", line.len());
        }
    }

    #[test]
    fn values_are_read_to_their_bounds() {
        for (text, bits) in [
            ("0", 0),
            ("0x55555554", 0x5555_5554),
            ("fffffffc", 0xffff_fffc),
        ] {
            assert_eq!(init_pkru(text), Ok(bits));
        }
        for text in ["", "0x", "+4", "0x1", "2", "155555554", "0x5555555g", "-4"] {
            assert!(init_pkru(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "0", "-1", "nan", "inf", "soon", "1e99"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        for text in ["", "a b", "a\n", "\u{e9}"] {
            assert!(case_name(text).is_err(), "{text}");
        }
        for text in ["", "A", "=A"] {
            assert!(variable(text).is_err(), "{text}");
        }
    }
}
