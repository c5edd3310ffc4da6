//! One side: batches in children of a clean root, a hash each.
//!
//! The root itself does nothing that a batch could find. For each batch it forks a worker, which makes the steps itself
//! from the batch's seed (so that nothing has to be told) and answers with one number.

use pkeys_conformance::machine::{self, Settings};
use pkeys_conformance::system::{Answer, System};

use crate::generate::{Generator, Rules, batch_seed};
use crate::witness::{Hash, What};
use crate::worker::Worker;

/// Where programs can be run, from a clean root.
pub trait Side {
    /// Lets `body` work with a root.
    ///
    /// # Errors
    ///
    /// What became of the root, in words, if it did not live to the end.
    fn with_root(&mut self, body: &mut dyn FnMut(&mut dyn System)) -> Result<(), String>;
}

/// The kernel library: a machine of its own for each root, so that a batch, or a part of one, is run alike whatever was
/// run before.
#[derive(Debug, Default)]
pub struct MachineSide {
    settings: Settings,
}

impl Side for MachineSide {
    fn with_root(&mut self, body: &mut dyn FnMut(&mut dyn System)) -> Result<(), String> {
        machine::run(&self.settings, |root| body(root))
            .map_err(|ended| format!("the machine's root was {ended}"))
    }
}

/// Runs one batch and gives its hash: of all steps, or of how the worker died.
pub fn batch_hash<S: System + ?Sized>(sys: &mut S, seed: u64, number: u64, rules: Rules) -> u64 {
    let worker = sys.fork();
    let hash = match sys.ask(worker, run, batch_seed(seed, number, rules)) {
        Answer::Done(hash) => hash,
        Answer::Killed(signo) => death(What::Killed, signo),
        Answer::Exited(status) => death(What::Exited, status),
    };
    sys.end(worker);
    hash
}

fn death(what: What, number: i32) -> u64 {
    (what as u64) << 32 | u64::from(number.unsigned_abs())
}

/// A task: a whole batch.
fn run(sys: &mut dyn System, batch_seed: u64) -> u64 {
    let mut worker = Worker::new(sys);
    let mut all = Hash::default();
    for op in Generator::new(batch_seed) {
        let mut seen = Hash::default();
        all.add(worker.step(sys, op, &mut seen));
    }
    all.value()
}
