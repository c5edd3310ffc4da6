//! Huge pages for the cases that need some: the kernel is allowed to make a few while they run.
//!
//! They are made on demand and given back at once (`nr_overcommit_hugepages`), so that no memory is set aside.

use std::fs;
use std::io;

/// How many pages of 2 MiB the kernel may make beyond its pool.
const FILE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages";

/// A number that was changed; put back when this goes.
#[derive(Debug)]
pub(super) struct Allowance {
    before: String,
}

impl Allowance {
    /// Allows so many pages more than the pool has.
    ///
    /// # Errors
    ///
    /// The file cannot be written: that takes root, and a kernel with hugetlb.
    pub(super) fn new(pages: u32) -> io::Result<Self> {
        let told = |err: io::Error| io::Error::new(err.kind(), format!("{FILE}: {err}"));
        let before = fs::read_to_string(FILE).map_err(told)?;
        fs::write(FILE, pages.to_string()).map_err(told)?;
        Ok(Self { before })
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        if let Err(err) = fs::write(FILE, self.before.trim()) {
            eprintln!("conform: {FILE} could not be put back: {err}");
        }
    }
}
