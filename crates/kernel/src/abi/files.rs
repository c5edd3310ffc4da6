//! Descriptors: flags, requests and options of the calls about them.
//!
//! Those that `open(2)` and `memfd_create(2)` take stand in [`super::task`].
//!
//! Source: Linux `include/uapi/asm-generic/fcntl.h`, `ioctls.h`, `socket.h`, `poll.h`, `include/uapi/linux/fcntl.h`,
//! `include/linux/socket.h`.

constants! { i32:
    /// `AT_FDCWD`: in place of a descriptor, the working directory.
    AT_FDCWD = -100;
    /// `AF_UNIX`.
    AF_UNIX = 1;
    /// `SOL_SOCKET`: options of any socket.
    SOL_SOCKET = 1;
    /// `SO_RCVTIMEO`: how long a read waits.
    SO_RCVTIMEO = 20;
}

constants! { usize:
    /// `PATH_MAX`: the longest path, with the zero at its end.
    PATH_MAX = 4096;
}

constants! { u64:
    /// `FD_CLOEXEC`: a new program does not get the descriptor.
    FD_CLOEXEC = 1;
}

constants! { u32:
    /// `F_DUPFD`: a copy with the lowest number from a given one on.
    F_DUPFD = 0;
    /// `F_GETFD`: the flags of a number.
    F_GETFD = 1;
    /// `F_SETFD`: sets them.
    F_SETFD = 2;
    /// `F_GETFL`: the flags of what it stands for.
    F_GETFL = 3;
    /// `F_SETFL`: sets them.
    F_SETFL = 4;
    /// `F_DUPFD_CLOEXEC`: as `F_DUPFD`, with `FD_CLOEXEC`.
    F_DUPFD_CLOEXEC = 1030;
    /// `FIONCLEX`: takes `FD_CLOEXEC` away.
    FIONCLEX = 0x5450;
    /// `FIOCLEX`: sets `FD_CLOEXEC`.
    FIOCLEX = 0x5451;
    /// `SOCK_STREAM`.
    SOCK_STREAM = 1;
    /// `SOCK_TYPE_MASK`: the bits that are a type; the others are `O_CLOEXEC` and `O_NONBLOCK`.
    SOCK_TYPE_MASK = 0xF;
    /// `SOCK_MAX`: above all types.
    SOCK_MAX = 11;
    /// `MSG_DONTWAIT`.
    MSG_DONTWAIT = 0x40;
    /// `MSG_NOSIGNAL`: no SIGPIPE.
    MSG_NOSIGNAL = 0x4000;
    /// `MSG_CMSG_CLOEXEC`: without meaning, as no descriptors are received.
    MSG_CMSG_CLOEXEC = 0x4000_0000;
    /// `AT_SYMLINK_NOFOLLOW`: without meaning, as there are no links.
    AT_SYMLINK_NOFOLLOW = 0x100;
    /// `AT_NO_AUTOMOUNT`: without meaning.
    AT_NO_AUTOMOUNT = 0x800;
    /// `AT_EMPTY_PATH`: an empty path is the descriptor itself.
    AT_EMPTY_PATH = 0x1000;
    /// `AT_STATX_SYNC_TYPE`: how fresh the answer has to be; without meaning.
    AT_STATX_SYNC_TYPE = 0x6000;
}

constants! { u16:
    /// `POLLIN`: there is something to be read.
    POLLIN = 1;
    /// `POLLOUT`: there is room to write.
    POLLOUT = 4;
    /// `POLLERR`: nobody reads what is written.
    POLLERR = 8;
    /// `POLLHUP`: nobody writes.
    POLLHUP = 0x10;
    /// `POLLNVAL`: there is no such descriptor.
    POLLNVAL = 0x20;
    /// `POLLRDNORM`: as `POLLIN`.
    POLLRDNORM = 0x40;
    /// `POLLWRNORM`: as `POLLOUT`.
    POLLWRNORM = 0x100;
    /// `POLLRDHUP`: a socket's other end writes no more.
    POLLRDHUP = 0x2000;
}
