//! `cargo xtask show`: `pkeys guard` at work on an unmodified program, on any machine.
//!
//! SQLite's shell comes from a package, which is unpacked and not installed; the wild code in it is `wild.c`, built by the machine's
//! compiler; what happens is `show.sh`. Where the machine has keys it happens here, else in a Linux guest under QEMU.

use crate::guest::{self, Call, Contents, Guest};
use crate::keys;
use crate::test::screen::Screen;
use crate::workspace::Workspace;
use crate::{artifacts, capture};
use anyhow::{Context, Result, bail};
use console::style;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The shell, and what `show.sh` needs.
const PACKAGES: [&str; 3] = ["coreutils", "dash", "sqlite3"];

/// Where things are in the guest.
const IN_GUEST: [(&str, &str); 3] = [
    ("PKEYS", "/program/pkeys"),
    ("SQLITE", "/usr/bin/sqlite3"),
    ("WILD", "/program/wild.so"),
];

const SCRIPT: &str = include_str!("show.sh");
const WILD: &str = include_str!("wild.c");

/// Show `pkeys guard` at work: wild code in SQLite's shell, without and with the guard.
///
/// On this machine where it has protection keys, else in a Linux guest under QEMU.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// In the guest, whatever this machine has
    #[arg(long)]
    in_guest: bool,
    #[command(flatten)]
    guest: guest::Options,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let mut screen = Screen::new();
    screen.begin("show");
    let doing = |what: &str| screen.doing(what);
    let say = |text: &str| screen.note(&format!("{} {text}", style("show:").dim()));
    say("building the pkeys command: a few minutes the first time");
    let pkeys = artifacts::program(workspace.cargo(), "pkeys-cli", "pkeys", &doing)?;
    let folder = workspace.guest_dir().join("show");
    let wild = build_wild(&folder)?;
    let names = PACKAGES.map(str::to_owned);
    let mut contents = Contents::of_packages(&workspace, &names, &say)?;
    match keys::probe() {
        Ok(()) if !args.in_guest => {
            screen.clear();
            here(&contents, &pkeys, &wild)
        }
        missing => {
            if let Err(missing) = missing {
                say(&format!(
                    "no usable keys here: {missing}; in a Linux guest under QEMU"
                ));
            }
            contents.put(&pkeys, Path::new("/program/pkeys"))?;
            contents.put(&wild, Path::new("/program/wild.so"))?;
            contents.put_all_libraries()?;
            let guest = Guest::prepare(&workspace, &args.guest, &say, &doing)?;
            screen.clear();
            in_guest(&guest, &contents)
        }
    }
}

/// Builds the wild code, with lines that a report can name.
fn build_wild(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let source = folder.join("wild.c");
    fs::write(&source, WILD).with_context(|| source.display().to_string())?;
    let out = folder.join("wild.so");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    command
        .args(["-shared", "-fPIC", "-O1", "-g"])
        .arg(format!("-fdebug-prefix-map={}=.", folder.display()))
        .args(["-o", "wild.so", "wild.c"])
        .current_dir(folder);
    let done = capture::run(command, None, &mut |_| {})
        .with_context(|| format!("{} (a C compiler)", compiler.display()))?;
    if !done.is_success() {
        bail!("building wild.c:\n{}", done.output);
    }
    Ok(out)
}

/// On this machine: with its own shell where it has one, else with the package's.
fn here(contents: &Contents, pkeys: &Path, wild: &Path) -> Result<ExitCode> {
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT])
        .env("PKEYS", pkeys)
        .env("WILD", wild);
    let has_own = Command::new("sqlite3").arg("-version").output();
    if has_own.is_ok_and(|done| done.status.success()) {
        command.env("SQLITE", "sqlite3");
    } else {
        let tree = contents.tree();
        command
            .env("SQLITE", tree.join("usr/bin/sqlite3"))
            .env("LD_LIBRARY_PATH", tree.join("usr/lib/x86_64-linux-gnu"));
    }
    let status = command.status().context("sh")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn in_guest(guest: &Guest, contents: &Contents) -> Result<ExitCode> {
    let call = Call {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), SCRIPT.into()],
        env: IN_GUEST
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        stdin: None,
    };
    let ended = guest.run_in(contents, &call, &mut guest::print)?;
    guest::status(&ended)
}
