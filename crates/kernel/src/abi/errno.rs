//! Error numbers.

use core::fmt;

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// An error number of Linux on x86-64, as system calls give it (negated).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Errno {
            $($(#[$doc])* $name = $number,)*
        }

        impl Errno {
            /// The number, which is positive.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// The error with this positive number, if this library knows it.
            #[must_use]
            pub const fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

errnos! {
    /// `EPERM`.
    Perm = 1, "operation not permitted";
    /// `ENOENT`.
    NoEntry = 2, "no such file or directory";
    /// `ESRCH`.
    NoProcess = 3, "no such process";
    /// `EINTR`.
    Interrupted = 4, "interrupted system call";
    /// `EIO`.
    Io = 5, "input or output error";
    /// `E2BIG`.
    TooBig = 7, "argument list too long";
    /// `ENOEXEC`.
    NoExecutable = 8, "exec format error";
    /// `EBADF`. Of `pkey_get` and `pkey_set`: the key is not allocated.
    BadDescriptor = 9, "bad file descriptor";
    /// `ECHILD`.
    NoChild = 10, "no child processes";
    /// `EAGAIN`.
    Again = 11, "resource temporarily unavailable";
    /// `ENOMEM`.
    NoMemory = 12, "cannot allocate memory";
    /// `EACCES`.
    Access = 13, "permission denied";
    /// `EFAULT`.
    Fault = 14, "bad address";
    /// `EEXIST`.
    Exists = 17, "file exists";
    /// `ENODEV`.
    NoDevice = 19, "no such device";
    /// `ENOTDIR`.
    NotDirectory = 20, "not a directory";
    /// `EINVAL`.
    Invalid = 22, "invalid argument";
    /// `EMFILE`.
    TooManyFiles = 24, "too many open files";
    /// `ENOSPC`. Of `pkey_alloc`: every key is taken, or the processor has none.
    NoSpace = 28, "no space left on device";
    /// `ENOTTY`.
    NotTerminal = 25, "inappropriate ioctl for device";
    /// `ESPIPE`.
    IllegalSeek = 29, "illegal seek";
    /// `EPIPE`.
    BrokenPipe = 32, "broken pipe";
    /// `EDOM`.
    Domain = 33, "numerical argument out of domain";
    /// `ENAMETOOLONG`.
    NameTooLong = 36, "file name too long";
    /// `ENOSYS`.
    NoSystemCall = 38, "function not implemented";
    /// `EOVERFLOW`.
    Overflow = 75, "value too large for defined data type";
    /// `ENOTSOCK`.
    NotSocket = 88, "socket operation on non-socket";
    /// `ENOPROTOOPT`.
    NoSuchOption = 92, "protocol not available";
    /// `EPROTONOSUPPORT`.
    NoSuchProtocol = 93, "protocol not supported";
    /// `ESOCKTNOSUPPORT`.
    NoSuchSocket = 94, "socket type not supported";
    /// `EOPNOTSUPP`.
    NotSupported = 95, "operation not supported";
    /// `EAFNOSUPPORT`.
    NoSuchFamily = 97, "address family not supported by protocol";
    /// `EISCONN`.
    IsConnected = 106, "transport endpoint is already connected";
    /// `ETIMEDOUT`.
    TimedOut = 110, "connection timed out";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn numbers_are_those_of_linux() {
        // From errno(3) on x86-64.
        let table = [
            (Errno::Perm, 1),
            (Errno::BadDescriptor, 9),
            (Errno::NoMemory, 12),
            (Errno::Access, 13),
            (Errno::Fault, 14),
            (Errno::Invalid, 22),
            (Errno::NoSpace, 28),
            (Errno::NoSystemCall, 38),
        ];
        for (errno, number) in table {
            assert_eq!(errno.number(), number);
            assert_eq!(Errno::from_number(number), Some(errno));
        }
        assert_eq!(Errno::from_number(0), None);
        assert_eq!(Errno::from_number(-22), None);
    }
}
