//! What a process does about each signal: `struct sigaction`, and the table of all.
//!
//! Source: Linux `kernel/signal.c` (`do_sigaction`, `sig_handler_ignored`, `flush_signal_handlers`),
//! `include/uapi/asm-generic/signal.h`.

use crate::abi::signal::{SA_ALL, SIG_DFL, SIG_IGN};
use crate::abi::words::{bytes_of, words_of};
use crate::signal::set::DefaultAction;
use crate::signal::{SigSet, Signo};

/// The size of the structure as `rt_sigaction(2)` has it.
pub const SIGACTION_LEN: usize = 32;

/// `struct sigaction` of the system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SigAction {
    /// `sa_handler`: an address, [`SIG_DFL`] or [`SIG_IGN`].
    pub handler: u64,
    /// `sa_flags`.
    pub flags: u64,
    /// `sa_restorer`: where the handler returns to.
    pub restorer: u64,
    /// `sa_mask`: what is blocked while the handler runs.
    pub mask: SigSet,
}

impl SigAction {
    /// The structure in these bytes, with what the kernel does not keep taken out.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SIGACTION_LEN]) -> Self {
        let [handler, flags, restorer, mask] = words_of(bytes);
        Self {
            handler,
            flags: flags & SA_ALL,
            restorer,
            mask: SigSet(mask).blockable(),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; SIGACTION_LEN] {
        bytes_of(&[self.handler, self.flags, self.restorer, self.mask.0])
    }

    /// Whether all of these flags are set.
    #[must_use]
    pub const fn has(&self, flags: u64) -> bool {
        self.flags & flags == flags
    }

    /// Whether a signal with this action has no effect.
    #[must_use]
    pub fn ignores(&self, signo: Signo) -> bool {
        self.handler == SIG_IGN
            || self.handler == SIG_DFL && signo.default_action() == DefaultAction::Ignore
    }
}

/// The actions of a process.
#[derive(Debug, Clone)]
pub struct Actions([SigAction; Signo::COUNT]);

impl Default for Actions {
    fn default() -> Self {
        Self([SigAction::default(); Signo::COUNT])
    }
}

impl Actions {
    /// The action for a signal.
    #[must_use]
    pub fn get(&self, signo: Signo) -> SigAction {
        self.0.get(signo.index()).copied().unwrap_or_default()
    }

    /// Changes it.
    pub fn set(&mut self, signo: Signo, action: SigAction) {
        if let Some(place) = self.0.get_mut(signo.index()) {
            *place = action;
        }
    }

    /// Goes back to the default action, and leaves flags and mask, as a forced signal and `SA_RESETHAND` do.
    pub fn reset_handler(&mut self, signo: Signo) {
        if let Some(place) = self.0.get_mut(signo.index()) {
            place.handler = SIG_DFL;
        }
    }

    /// `execve(2)`: handlers are gone with the program that had them; what was ignored stays ignored.
    pub fn exec(&mut self) {
        for action in &mut self.0 {
            let handler = if action.handler == SIG_IGN {
                SIG_IGN
            } else {
                SIG_DFL
            };
            *action = SigAction {
                handler,
                ..SigAction::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Actions, SigAction};
    use crate::abi::signal::{SIG_IGN, SIGCHLD, SIGUSR1};
    use crate::signal::{SigSet, Signo};

    #[test]
    fn what_the_kernel_keeps_comes_back() {
        let mut bytes = [0xFF; 32];
        bytes[..8].copy_from_slice(&0x1234_5678_u64.to_le_bytes());
        let action = SigAction::from_bytes(&bytes);
        assert_eq!(action.handler, 0x1234_5678);
        assert_eq!(action.flags, 0xDC00_0807);
        assert_eq!(action.mask, SigSet(!(1 << 8 | 1 << 18)));
        assert_eq!(SigAction::from_bytes(&action.bytes()), action);
    }

    #[test]
    fn exec_forgets_handlers_and_keeps_what_is_ignored() {
        let signo = |number| Signo::new(number).unwrap();
        let mut actions = Actions::default();
        let ignore = SigAction {
            handler: SIG_IGN,
            flags: 4,
            ..SigAction::default()
        };
        actions.set(signo(SIGCHLD), ignore);
        actions.set(
            signo(SIGUSR1),
            SigAction {
                handler: 0x1000,
                ..ignore
            },
        );
        actions.exec();
        assert_eq!(actions.get(signo(SIGCHLD)).handler, SIG_IGN);
        assert_eq!(actions.get(signo(SIGCHLD)).flags, 0);
        assert_eq!(actions.get(signo(SIGUSR1)), SigAction::default());
    }

    #[test]
    fn ignoring_is_explicit_or_the_default() {
        let signo = |number| Signo::new(number).unwrap();
        let default = SigAction::default();
        assert!(default.ignores(signo(SIGCHLD)));
        assert!(!default.ignores(signo(SIGUSR1)));
        assert!(
            SigAction {
                handler: SIG_IGN,
                ..default
            }
            .ignores(signo(SIGUSR1))
        );
        assert!(
            !SigAction {
                handler: 2,
                ..default
            }
            .ignores(signo(SIGCHLD))
        );
    }
}
