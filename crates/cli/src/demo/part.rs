//! The demo's other processes: this program, started again with a hidden command.
//!
//! A scene may die, and memory methods are for ever (`SQLITE_CONFIG_MALLOC`): so each scene and each way of measuring has
//! a process of its own.

use std::process::ExitCode;

use clap::Subcommand;

use super::{scene, worker};
use crate::failure::Failure;

/// A part of the demo, played in a process of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A day at the desk.
    Scene(scene::Args),
    /// Rounds of work, as they are asked for.
    Worker(worker::Args),
}

/// Plays the part.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.part {
        Part::Scene(args) => scene::run(args)?,
        Part::Worker(args) => worker::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
