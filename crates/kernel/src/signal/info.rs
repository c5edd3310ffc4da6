//! `siginfo_t`: what a handler is told about its signal.
//!
//! The kernel gives 128 bytes: number, error number and code, then what belongs to the code, then zeros.
//!
//! | offset | field | when |
//! |---|---|---|
//! | 0, 4, 8 | `si_signo`, `si_errno`, `si_code` | always |
//! | 16 | `si_addr` | a fault |
//! | 0x20 | `si_pkey` | a fault of a key |
//! | 16, 20 | `si_pid`, `si_uid` | sent by a process, or about a child |
//! | 24 | `si_status` | about a child |
//!
//! Source: Linux `include/uapi/asm-generic/siginfo.h`, `kernel/signal.c` (`copy_siginfo_to_user`).

use pkeys_core::siginfo::{SI_ADDR_OFFSET, SI_KERNEL, SI_PKEY_OFFSET};
use pkeys_core::{Pkey, SegvCode};

use crate::abi::signal::{BUS_ADRERR, SI_TKILL, SI_USER};
use crate::keys::fault::Segv;
use crate::signal::Signo;

/// The size of `siginfo_t`.
pub const SIGINFO_LEN: usize = 128;

/// A signal with what is told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigInfo {
    /// The signal.
    pub signo: Signo,
    /// `si_code`.
    pub code: i32,
    /// What the code goes with.
    pub detail: Detail,
}

/// What there is besides number and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// An access did not succeed.
    Fault {
        /// `si_addr`.
        addr: u64,
        /// `si_pkey`.
        pkey: Option<Pkey>,
    },
    /// Somebody sent it.
    Sender {
        /// `si_pid`; 0 if it was the kernel.
        pid: i32,
        /// `si_uid`.
        uid: u32,
    },
    /// Something happened to a child.
    Child {
        /// `si_pid`.
        pid: i32,
        /// `si_uid`.
        uid: u32,
        /// `si_status`: the exit status, or the signal.
        status: i32,
    },
}

impl SigInfo {
    /// A page fault that becomes SIGSEGV.
    #[must_use]
    pub const fn segv(segv: Segv, addr: u64) -> Self {
        let code = segv.code.code();
        let pkey = match segv.code {
            SegvCode::PkuErr => segv.pkey,
            _ => None,
        };
        Self {
            signo: Signo::SEGV,
            code,
            detail: Detail::Fault { addr, pkey },
        }
    }

    /// There is no memory behind an address.
    #[must_use]
    pub const fn bus(addr: u64) -> Self {
        Self {
            signo: Signo::BUS,
            code: BUS_ADRERR,
            detail: Detail::Fault { addr, pkey: None },
        }
    }

    /// The kernel sends it, and has no more to say.
    #[must_use]
    pub const fn kernel(signo: Signo) -> Self {
        Self {
            signo,
            code: SI_KERNEL,
            detail: Detail::Sender { pid: 0, uid: 0 },
        }
    }

    /// A process sends it by `kill(2)`.
    #[must_use]
    pub const fn user(signo: Signo, pid: i32, uid: u32) -> Self {
        Self {
            signo,
            code: SI_USER,
            detail: Detail::Sender { pid, uid },
        }
    }

    /// A process sends it to one thread by `tgkill(2)`.
    #[must_use]
    pub const fn thread(signo: Signo, pid: i32, uid: u32) -> Self {
        Self {
            signo,
            code: SI_TKILL,
            detail: Detail::Sender { pid, uid },
        }
    }

    /// The bytes that a handler gets.
    #[must_use]
    pub fn bytes(&self) -> [u8; SIGINFO_LEN] {
        let mut bytes = [0; SIGINFO_LEN];
        let mut put = |offset: usize, field: &[u8]| {
            if let Some(place) = bytes.get_mut(offset..offset + field.len()) {
                place.copy_from_slice(field);
            }
        };
        put(0, &self.signo.number().to_le_bytes());
        put(8, &self.code.to_le_bytes());
        match self.detail {
            Detail::Fault { addr, pkey } => {
                put(SI_ADDR_OFFSET, &addr.to_le_bytes());
                if let Some(pkey) = pkey {
                    put(SI_PKEY_OFFSET, &u32::from(pkey.get()).to_le_bytes());
                }
            }
            Detail::Sender { pid, uid } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
            }
            Detail::Child { pid, uid, status } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
                put(24, &status.to_le_bytes());
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use pkeys_core::Pkey;

    use super::{Detail, SigInfo};
    use crate::keys::fault::Segv;
    use crate::signal::Signo;

    /// The 4 bytes at an offset.
    fn word(bytes: &[u8], offset: usize) -> i32 {
        i32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    #[test]
    fn a_fault_of_a_key_has_address_and_key_and_zeros() {
        let info = SigInfo::segv(Segv::pkuerr(Pkey::truncate(11)), 0x7000_1234_5678);
        let bytes = info.bytes();
        assert_eq!(
            (word(&bytes, 0), word(&bytes, 4), word(&bytes, 8)),
            (11, 0, 4)
        );
        assert_eq!((word(&bytes, 16), word(&bytes, 20)), (0x1234_5678, 0x7000));
        assert_eq!(word(&bytes, 0x20), 11);
        let elsewhere = (0..128).filter(|at| !(0..12).contains(at) && !(16..36).contains(at));
        assert!(elsewhere.map(|at| bytes[at]).all(|byte| byte == 0));
    }

    #[test]
    fn only_a_fault_of_a_key_has_a_key() {
        for segv in [Segv::MAPERR, Segv::ACCERR] {
            assert_eq!(word(&SigInfo::segv(segv, 1).bytes(), 0x20), 0);
        }
        let bus = SigInfo::bus(5).bytes();
        assert_eq!((word(&bus, 0), word(&bus, 8), word(&bus, 16)), (7, 2, 5));
    }

    #[test]
    fn senders_and_children_are_named() {
        let bytes = SigInfo::thread(Signo::STOP, 77, 1000).bytes();
        assert_eq!((word(&bytes, 0), word(&bytes, 8)), (19, -6));
        assert_eq!((word(&bytes, 16), word(&bytes, 20)), (77, 1000));
        let child = SigInfo {
            signo: Signo::CHLD,
            code: 1,
            detail: Detail::Child {
                pid: 3,
                uid: 4,
                status: 5,
            },
        };
        let bytes = child.bytes();
        assert_eq!(
            (word(&bytes, 16), word(&bytes, 20), word(&bytes, 24)),
            (3, 4, 5)
        );
        assert_eq!(word(&SigInfo::kernel(Signo::SEGV).bytes(), 8), 0x80);
    }
}
