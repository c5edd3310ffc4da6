//! The `pkeys` command: what a person or a script does with memory protection keys without writing a program.
//!
//! One file per subcommand; each gives an exit status or a [`failure::Failure`].

#![deny(unsafe_code)]

mod boot;
mod demo;
mod doctor;
mod failure;
mod guard;
mod missing;
mod style;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Memory protection keys: what this machine gives, and what they are good for.
#[derive(Debug, Parser)]
#[command(
    name = "pkeys",
    version,
    max_term_width = 80,
    after_help = "Example: pkeys demo\n\nExit status: 0 done, 1 failed, 2 usage, 3 no usable protection keys"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(doctor::Args),
    Demo(demo::Args),
    Guard(Box<guard::Args>),
    Boot(Box<boot::Args>),
    #[command(hide = true)]
    DemoPart(demo::part::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Guard(args) => guard::run(&args),
        Command::Boot(args) => boot::run(&args),
        Command::DemoPart(args) => demo::part::run(&args),
    };
    result.unwrap_or_else(failure::Failure::end)
}
