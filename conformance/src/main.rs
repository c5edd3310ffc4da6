//! Runs the catalogue; see [`pkeys_conformance::runner`].

use std::process::ExitCode;

fn main() -> ExitCode {
    pkeys_conformance::linux::begin();
    pkeys_conformance::runner::main()
}
