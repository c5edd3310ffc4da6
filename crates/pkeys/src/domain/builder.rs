//! How a domain is made: its settings, and every way in which making it can fail.

use core::fmt;
use std::io;
use std::sync::Arc;

use pkeys_core::{Mode, Pardon, Rights};

use crate::domain::inner::{DomainInner, Gate};
use crate::domain::record::{DomainRecord, NAME_MAX_BYTES, Protection, Settings};
use crate::domain::{Domain, holders};
use crate::embed::BlockFn;
use crate::env::{self, EnvironmentError};
use crate::fault::{self, InstallError, VerdictFn};
use crate::registry::keys::{self, AllocateError};
use crate::support::{self, Unsupported};
use crate::thread;

/// The number of keys that domains can have: 16 less key 0, which is everybody's.
pub const MAX_DOMAINS: usize = 15;

/// What a domain does on a machine, a kernel or in a sandbox without protection keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WithoutKeys {
    /// It is not made: [`CreateError::Unsupported`] names the layer.
    #[default]
    Refuse,
    /// `mprotect(2)` takes the place of the key: the same interface, thousands of times slower for large domains, and a
    /// window lets every thread of the process in, not just its own.
    Mprotect,
    /// It is not protected at all; windows only count.
    Unprotected,
}

/// Settings of a domain that is to be made; see [`Domain::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing until `create` is called"]
pub struct DomainBuilder<'a> {
    name: &'a str,
    closed: Rights,
    mode: Mode,
    pardon: Pardon,
    is_mode_pinned: bool,
    without_keys: WithoutKeys,
    verdict: Option<VerdictFn>,
    block: Option<BlockFn>,
}

impl<'a> DomainBuilder<'a> {
    pub(super) const fn new(name: &'a str) -> Self {
        Self {
            name,
            closed: Rights::NoAccess,
            mode: Mode::Strict,
            pardon: Pardon::Instruction,
            is_mode_pinned: false,
            without_keys: WithoutKeys::Refuse,
            verdict: None,
            block: None,
        }
    }

    /// What a thread may do without a window: nothing (the default) or read.
    ///
    /// [`Rights::ReadWrite`] protects nothing and is refused by [`create`](Self::create).
    pub const fn closed(mut self, rights: Rights) -> Self {
        self.closed = rights;
        self
    }

    /// What happens on a stray access; strict by default. `PKEYS_MODE` overrides it unless the mode is
    /// [pinned](Self::pin_mode).
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// How a stray access is let through in the modes relaxed and silent: for one instruction (the default), which sees
    /// every stray access and costs two traps each, or until the thread's outermost window closes.
    pub const fn pardon(mut self, pardon: Pardon) -> Self {
        self.pardon = pardon;
        self
    }

    /// Makes the mode that this program chose final: `PKEYS_MODE` does not change it.
    pub const fn pin_mode(mut self) -> Self {
        self.is_mode_pinned = true;
        self
    }

    /// What to do where there are no protection keys; refused by default.
    pub const fn without_keys(mut self, choice: WithoutKeys) -> Self {
        self.without_keys = choice;
        self
    }

    /// A function that judges each stray access on this domain before the mode does.
    ///
    /// # Safety
    ///
    /// 1. The function is called in a signal handler, on the thread that strayed and wherever that thread was: it does
    ///    only what `signal-safety(7)` allows. It takes no lock, allocates nothing, does not panic.
    /// 2. It returns: no `siglongjmp(3)` out of it.
    #[allow(unsafe_code, reason = "the function must be safe in a signal handler")]
    pub const unsafe fn on_stray(mut self, verdict: VerdictFn) -> Self {
        self.verdict = Some(verdict);
        self
    }

    /// A function that finds the block which an address lies in, for reports of domains with an allocator of their own.
    ///
    /// # Safety
    ///
    /// 1. The function is called in a signal handler: it does only what `signal-safety(7)` allows, and returns.
    #[allow(unsafe_code, reason = "the function must be safe in a signal handler")]
    pub const unsafe fn on_block(mut self, block: BlockFn) -> Self {
        self.block = Some(block);
        self
    }

    /// Makes the domain. The calling thread's rights to it are the closed ones from here on.
    ///
    /// The first domain of a process also installs the fault handlers (SIGSEGV, SIGBUS, SIGTRAP; the handlers that were
    /// there are kept and called for faults that are none of ours) and starts the thread that writes reports.
    ///
    /// # Errors
    ///
    /// [`CreateError`] tells; nothing is left behind.
    pub fn create(self) -> Result<Domain, CreateError> {
        let Self { name, closed, .. } = self;
        check_name(name)?;
        if !matches!(closed, Rights::NoAccess | Rights::ReadOnly) {
            return Err(CreateError::ClosedRights { closed });
        }
        let mode = match env::mode()? {
            Some(mode) if !self.is_mode_pinned => mode,
            _ => self.mode,
        };
        let gate = self.choose_gate()?;
        if let Err(error) = fault::install() {
            release_gate(gate, closed);
            return Err(error.into());
        }
        let record = DomainRecord::acquire(Settings {
            name,
            protection: match gate {
                Gate::Pkey(_, pkey) => Protection::Pkey(pkey),
                Gate::Mprotect => Protection::Mprotect,
                Gate::Unprotected => Protection::Unprotected,
            },
            closed,
            mode,
            pardon: self.pardon,
            verdict: self.verdict,
            block: self.block,
        });
        if let Gate::Pkey(_, pkey) = gate {
            holders::add(record.serial(), name);
            // The key was closed on this thread by its allocation.
            thread::with(|thread| thread.note_opened(pkey, record.serial()));
        }
        let inner = DomainInner::new(gate, closed, record, name, self.is_mode_pinned);
        Ok(Domain {
            inner: Arc::new(inner),
        })
    }

    fn choose_gate(&self) -> Result<Gate, CreateError> {
        match (support::keys(), self.without_keys) {
            (Ok(keys), _) => {
                let pkey = keys::allocate(keys, self.closed).map_err(|error| match error {
                    AllocateError::Exhausted { parked } => exhausted(parked),
                    AllocateError::Os(source) => CreateError::PkeyAlloc { source },
                })?;
                Ok(Gate::Pkey(keys, pkey))
            }
            (Err(unsupported), WithoutKeys::Refuse) => Err(unsupported.into()),
            (Err(_), WithoutKeys::Mprotect) => Ok(Gate::Mprotect),
            (Err(_), WithoutKeys::Unprotected) => Ok(Gate::Unprotected),
        }
    }
}

fn exhausted(parked: usize) -> CreateError {
    let holders = holders::names();
    CreateError::KeysExhausted {
        limit: MAX_DOMAINS,
        foreign: MAX_DOMAINS.saturating_sub(holders.len() + parked),
        holders,
        parked,
    }
}

fn release_gate(gate: Gate, closed: Rights) {
    if let Gate::Pkey(keys, pkey) = gate {
        keys::release(keys, pkey, closed);
    }
}

fn check_name(name: &str) -> Result<(), CreateError> {
    if name.is_empty() || name.len() > NAME_MAX_BYTES || name.chars().any(char::is_control) {
        return Err(CreateError::Name {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// A domain was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreateError {
    /// There are no protection keys here, and the builder was not told to do without.
    Unsupported(Unsupported),
    /// All keys are taken.
    KeysExhausted {
        /// How many keys there are for domains.
        limit: usize,
        /// The domains that hold one, oldest first.
        holders: Vec<String>,
        /// How many are held by other code of this process (bare [`Key`](crate::Key)s among them), or by the kernel for
        /// execute-only memory.
        foreign: usize,
        /// How many wait in quarantine, because a thread may still have them open.
        parked: usize,
    },
    /// `pkey_alloc(2)` failed.
    PkeyAlloc {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The name is empty, longer than 64 bytes or has control characters.
    Name {
        /// The name.
        name: String,
    },
    /// The closed rights protect nothing.
    ClosedRights {
        /// The rights that were asked for.
        closed: Rights,
    },
    /// `PKEYS_MODE` or another variable holds something else than it may.
    Environment(EnvironmentError),
    /// The fault handlers or the report could not be set up.
    Install(InstallError),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(unsupported) => unsupported.fmt(f),
            Self::KeysExhausted {
                limit,
                holders,
                foreign,
                parked,
            } => {
                write!(f, "all {limit} protection keys are taken: ")?;
                write!(f, "{} by domains", holders.len())?;
                for (index, name) in holders.iter().enumerate() {
                    let separator = if index == 0 { " (" } else { ", " };
                    write!(f, "{separator}{name}")?;
                }
                if !holders.is_empty() {
                    write!(f, ")")?;
                }
                write!(f, ", {foreign} by other code, {parked} in quarantine")
            }
            Self::PkeyAlloc { source } => write!(f, "pkey_alloc(2) failed: {source}"),
            Self::Name { name } => write!(
                f,
                "{name:?} is no name for a domain: 1 to {NAME_MAX_BYTES} bytes, no control characters"
            ),
            Self::ClosedRights { closed } => write!(
                f,
                "closed rights of {closed} protect nothing: they must be no access or read only"
            ),
            Self::Environment(error) => error.fmt(f),
            Self::Install(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::PkeyAlloc { source } => Some(source),
            Self::Unsupported(error) => error.source(),
            Self::Environment(error) => error.source(),
            Self::Install(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Unsupported> for CreateError {
    fn from(error: Unsupported) -> Self {
        Self::Unsupported(error)
    }
}

impl From<EnvironmentError> for CreateError {
    fn from(error: EnvironmentError) -> Self {
        Self::Environment(error)
    }
}

impl From<InstallError> for CreateError {
    fn from(error: InstallError) -> Self {
        Self::Install(error)
    }
}
