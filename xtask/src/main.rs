//! The project's own tasks, as `cargo xtask TASK`.
//!
//! One file or folder a task; each holds its arguments and its `run`. To add one: a module, a variant of [`Task`], a
//! line in `main`.
//!
//! * `show` - `pkeys guard` at work, here or in the guest;
//! * `test` - every test tier there is, and one closing line with the totals;
//! * `conform` - the catalogue of the keys' ABI, on Linux and on our kernel;
//! * `differential` - random programs on Linux and on our kernel, which have to agree;
//! * `boot` - the kernel image under QEMU;
//! * `bars` - the figures that the project promises, measured and held against their bars;
//! * `guest` - one program in the Linux guest in which tests run where the machine has no usable keys;
//! * `shape` - dependencies between the crates point one way;
//! * `inventory` - `docs/SAFETY.md` names every file with unsafe code.

mod artifacts;
mod bars;
mod boot;
mod capture;
mod conform;
mod differential;
mod guest;
mod inventory;
mod keys;
mod no_std;
mod rust_source;
mod shape;
mod show;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// A task, with its arguments.
#[derive(Debug, Subcommand)]
enum Task {
    Show(show::Args),
    Test(test::Args),
    Conform(conform::Args),
    Differential(differential::Args),
    Guest(guest::Args),
    Boot(boot::Args),
    Shape(shape::Args),
    Inventory(inventory::Args),
    Bars(bars::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Show(args) => show::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Conform(args) => conform::run(&args),
        Task::Differential(args) => differential::run(&args),
        Task::Guest(args) => guest::run(&args),
        Task::Boot(args) => boot::run(&args),
        Task::Shape(args) => shape::run(&args),
        Task::Inventory(args) => inventory::run(&args),
        Task::Bars(args) => bars::run(&args),
    };
    outcome.unwrap_or_else(|err| {
        eprintln!("xtask: {err:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{CommandFactory, Parser, error::ErrorKind};

    fn refusal(args: &[&str]) -> ErrorKind {
        Cli::try_parse_from([&["cargo xtask"], args].concat())
            .unwrap_err()
            .kind()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_arguments_are_refused() {
        let cases: [(&[&str], ErrorKind); 15] = [
            (&[], ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            (&["tset"], ErrorKind::InvalidSubcommand),
            (&["test", "--tier", "nope"], ErrorKind::InvalidValue),
            (&["test", "--quack"], ErrorKind::UnknownArgument),
            (&["test", "one", "two"], ErrorKind::UnknownArgument),
            (
                &["test", "--quick", "--tier", "docs"],
                ErrorKind::ArgumentConflict,
            ),
            (&["test", "--time-limit", "0"], ErrorKind::ValueValidation),
            (
                &["test", "--time-limit", "soon"],
                ErrorKind::ValueValidation,
            ),
            (&["guest"], ErrorKind::MissingRequiredArgument),
            (&["conform", "--on", "windows"], ErrorKind::InvalidValue),
            (&["test", "--steps", "0"], ErrorKind::ValueValidation),
            (&["boot", "--smp", "0"], ErrorKind::ValueValidation),
            (&["boot", "--test", ""], ErrorKind::InvalidValue),
            (&["differential", "linux"], ErrorKind::UnknownArgument),
            (
                &["guest", "--exec", "p", "--guest-cpu", ""],
                ErrorKind::InvalidValue,
            ),
        ];
        for (args, kind) in cases {
            assert_eq!(refusal(args), kind, "{args:?}");
        }
    }

    #[test]
    fn arguments_after_two_dashes_belong_to_the_program() {
        let args = ["cargo xtask", "guest", "--exec", "p", "--", "--json", "-x"];
        let cli = Cli::try_parse_from(args).unwrap();
        let super::Task::Guest(guest) = cli.task else {
            panic!("not the guest task: {cli:?}");
        };
        assert_eq!(guest.program_args(), ["--json", "-x"]);
    }
}
