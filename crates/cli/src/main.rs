//! The `pkeys` command.

fn main() {}
