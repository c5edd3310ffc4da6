//! How a process ended or stopped, and the number that `wait4(2)` gives for it.
//!
//! Source: `wait(2)`; Linux `kernel/exit.c` (`wait_task_zombie`, `wait_task_stopped`).

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// By itself, with the low 8 bits of its status.
    Exited(u8),
    /// By a signal.
    Killed(i32),
}

impl ExitStatus {
    /// The status of `wait4(2)`.
    #[must_use]
    pub const fn wait_status(self) -> i32 {
        match self {
            Self::Exited(code) => (code as i32) << 8,
            Self::Killed(signo) => signo,
        }
    }

    /// `si_status` of SIGCHLD.
    #[must_use]
    pub const fn detail(self) -> i32 {
        match self {
            Self::Exited(code) => code as i32,
            Self::Killed(signo) => signo,
        }
    }
}

/// The status of `wait4(2)` for a stop: the signal, and above it the event, if the stop is a tracer's and none.
#[must_use]
pub const fn stop_status(code: i32) -> i32 {
    code << 8 | 0x7F
}

/// The status of `wait4(2)` for a process that goes on.
pub const CONTINUED: i32 = 0xFFFF;

#[cfg(test)]
mod tests {
    use super::{ExitStatus, stop_status};

    #[test]
    fn statuses_are_those_of_the_manual() {
        assert_eq!(ExitStatus::Exited(3).wait_status(), 0x300);
        assert_eq!(ExitStatus::Killed(11).wait_status(), 11);
        assert_eq!(stop_status(19), 0x137F);
        assert_eq!(stop_status(5 | 128 << 8), 0x80_057F);
    }
}
