//! Pages of regions in other hands: `kmap`, `kmap_local_page` and pages handed over, on the software machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod free;
mod knobs;
mod lending;
mod marks;
mod orders;
mod rig;
mod scene;
mod steps;
