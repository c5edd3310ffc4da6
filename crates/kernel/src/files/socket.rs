//! Pairs of sockets: `socketpair(2)`, and what programs do with them.
//!
//! A pair is two pipes, one for each direction: bytes come out in the order in which they went in, and there is room for
//! sixteen pages. Linux's sockets of `AF_UNIX` hold more, and tell who reads if the other end was closed with bytes unread
//! (`ECONNRESET`); here such bytes are gone and nobody is told. There are no other sockets, and no datagrams.
//!
//! Source: Linux `net/socket.c` (`__sys_socketpair`, `__sys_sendto`, `__sys_recvfrom`), `net/core/sock.c`
//! (`sk_setsockopt`, `sock_set_timeout`), `net/unix/af_unix.c`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use lock_api::Mutex;

use crate::abi::Errno;
use crate::abi::files::{
    AF_UNIX, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, SO_RCVTIMEO, SOCK_MAX, SOCK_STREAM,
    SOCK_TYPE_MASK, SOL_SOCKET,
};
use crate::abi::task::{O_CLOEXEC, O_NONBLOCK};
use crate::abi::time::NSEC_PER_SEC;
use crate::files::io::checked_count;
use crate::files::transfer::Progress;
use crate::files::{File, Pipe};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::syscall::CallEnd;
use crate::syscall::iovec::Segment;
use crate::task::wait::WaitFor;
use crate::time::{NEVER, TIME_LEN, words};

/// One of a pair.
pub(crate) struct Socket<P: Platform> {
    pub(super) incoming: Arc<Pipe<P>>,
    pub(super) outgoing: Arc<Pipe<P>>,
    pub(super) is_nonblocking: bool,
    /// How long a read waits, in nanoseconds; [`NEVER`] for as long as it takes.
    limit: Mutex<P::Lock, u64>,
}

impl<P: Platform> Socket<P> {
    /// One more descriptor.
    pub(super) fn open(&self) {
        self.incoming.open(false);
        self.outgoing.open(true);
    }

    /// One descriptor less. Gives the threads that have to look.
    pub(super) fn close(&self) -> Vec<i32> {
        let mut woken = self.incoming.close(false);
        woken.extend(self.outgoing.close(true));
        woken
    }
}

/// What a call for a socket wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) fd: i32,
    pub(crate) buf: u64,
    pub(crate) count: u64,
    pub(crate) flags: u32,
    /// Where an address is, or is to be stored; 0 for none.
    pub(crate) addr: u64,
    pub(crate) addr_len: u64,
}

impl<P: Platform> Kernel<P> {
    /// `int socketpair(int domain, int type, int protocol, int sv[2]);`
    pub(crate) fn socketpair(
        &self,
        here: &Here<'_, P>,
        domain: i32,
        kind: u32,
        protocol: i32,
        at: u64,
    ) -> Result<u64, Errno> {
        let flags = kind & !SOCK_TYPE_MASK;
        if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
            return Err(Errno::Invalid);
        }
        // As in Linux, the numbers are stored before anything else is looked at.
        self.store_free(here, at)?;
        let kind = kind & SOCK_TYPE_MASK;
        if kind >= SOCK_MAX {
            return Err(Errno::Invalid);
        }
        if domain != AF_UNIX {
            return Err(Errno::NoSuchFamily);
        }
        if protocol != 0 && protocol != AF_UNIX {
            return Err(Errno::NoSuchProtocol);
        }
        if kind != SOCK_STREAM {
            return Err(Errno::NoSuchSocket);
        }
        let pipe = || Arc::new(Pipe::new(self.pool.new_id()));
        let [one, other] = [pipe(), pipe()];
        let end = |incoming: &Arc<Pipe<P>>, outgoing: &Arc<Pipe<P>>| {
            File::Socket(Arc::new(Socket {
                incoming: Arc::clone(incoming),
                outgoing: Arc::clone(outgoing),
                is_nonblocking: flags & O_NONBLOCK != 0,
                limit: Mutex::new(NEVER),
            }))
        };
        self.add_two(
            here,
            [end(&one, &other), end(&other, &one)],
            flags & O_CLOEXEC != 0,
            at,
        )
    }

    /// Stores the two numbers that are free.
    fn store_free(&self, here: &Here<'_, P>, at: u64) -> Result<(), Errno> {
        let numbers = here.numbers();
        let two = {
            let files = here.running.thread.process().files.lock();
            let mut free = files.free(numbers);
            [free.next(), free.next()]
        };
        let number = |free: Option<usize>| free.and_then(|free| i32::try_from(free).ok());
        let [Some(one), Some(other)] = two.map(number) else {
            return Err(Errno::TooManyFiles);
        };
        here.write(at, &one.to_le_bytes())?;
        here.write(at.wrapping_add(4), &other.to_le_bytes())
    }

    /// `int setsockopt(int sockfd, int level, int optname, const void *optval, socklen_t optlen);` There is one option, how
    /// long a read waits.
    pub(crate) fn setsockopt(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        [level, name]: [i32; 2],
        at: u64,
        len: i32,
    ) -> Result<u64, Errno> {
        let socket = socket_of(here, fd)?;
        if len < 0 {
            return Err(Errno::Invalid);
        }
        if (level, name) != (SOL_SOCKET, SO_RCVTIMEO) {
            return Err(Errno::NoSuchOption);
        }
        if usize::try_from(len).is_ok_and(|len| len < TIME_LEN) {
            return Err(Errno::Invalid);
        }
        let (seconds, microseconds) = words(&here.read(at)?);
        let fraction = u64::try_from(microseconds).map_err(|_| Errno::Domain)?;
        if fraction >= 1_000_000 {
            return Err(Errno::Domain);
        }
        *socket.limit.lock() = match (u64::try_from(seconds), fraction) {
            (Ok(0), 0) => NEVER,
            (Ok(seconds), fraction) => seconds
                .saturating_mul(NSEC_PER_SEC)
                .saturating_add(fraction * 1000),
            // As in Linux, what is negative is over already.
            (Err(_), _) => 0,
        };
        Ok(0)
    }

    /// `ssize_t sendto(int sockfd, const void *buf, size_t len, int flags, const struct sockaddr *dest_addr, socklen_t
    /// addrlen);`
    pub(crate) fn sendto(
        &self,
        here: &Here<'_, P>,
        message: Message,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let count = checked_count(message.buf, message.count)?;
        let socket = socket_of(here, message.fd)?;
        if message.flags & !(MSG_NOSIGNAL | MSG_DONTWAIT) != 0 {
            return Err(Errno::NotSupported.into());
        }
        if message.addr != 0 && message.addr_len != 0 {
            return Err(Errno::IsConnected.into());
        }
        let segments = [Segment {
            base: message.buf,
            len: count,
        }];
        self.send_to_socket(here, &socket, &segments, message.flags, done)
    }

    /// `ssize_t recvfrom(int sockfd, void *buf, size_t len, int flags, struct sockaddr *src_addr, socklen_t *addrlen);`
    pub(crate) fn recvfrom(
        &self,
        here: &Here<'_, P>,
        message: Message,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let count = checked_count(message.buf, message.count)?;
        let socket = socket_of(here, message.fd)?;
        if message.flags & !(MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 0 {
            return Err(Errno::NotSupported.into());
        }
        let segments = [Segment {
            base: message.buf,
            len: count,
        }];
        let is_nonblocking = message.flags & MSG_DONTWAIT != 0;
        let received = self.receive(here, &socket, &segments, is_nonblocking, done)?;
        if message.addr != 0 && message.addr_len != 0 {
            // Whoever sends has no name.
            here.write(message.addr_len, &0_u32.to_le_bytes())?;
        }
        Ok(received)
    }

    pub(super) fn send_to_socket(
        &self,
        here: &Here<'_, P>,
        socket: &Socket<P>,
        segments: &[Segment],
        flags: u32,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let mut progress = Progress::new(segments, done);
        let end = self.write_pipe(here, &socket.outgoing, &mut progress, false);
        let is_nonblocking = socket.is_nonblocking || flags & MSG_DONTWAIT != 0;
        let has_signal = flags & MSG_NOSIGNAL == 0;
        self.end_write(here, end, progress.done, is_nonblocking, has_signal)
    }

    /// What a read does; `done` is when it gives up, if it has waited.
    pub(super) fn receive(
        &self,
        here: &Here<'_, P>,
        socket: &Socket<P>,
        segments: &[Segment],
        is_nonblocking: bool,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let end = match done {
            0 => match *socket.limit.lock() {
                NEVER => NEVER,
                limit => self.end_of(limit)?,
            },
            end => end,
        };
        let is_nonblocking = is_nonblocking || socket.is_nonblocking;
        match self.read_pipe(here, &socket.incoming, segments, is_nonblocking) {
            Err(CallEnd::Wait(..)) => {
                self.set_deadline(here.tid(), end);
                if self.is_over(end) {
                    self.timers.remove(here.tid());
                    return Err(Errno::Again.into());
                }
                Err(CallEnd::Wait(WaitFor::Socket, end))
            }
            other => {
                self.timers.remove(here.tid());
                other
            }
        }
    }
}

fn socket_of<P: Platform>(here: &Here<'_, P>, fd: i32) -> Result<Arc<Socket<P>>, Errno> {
    match here.file(fd)? {
        File::Socket(socket) => Ok(socket),
        _ => Err(Errno::NotSocket),
    }
}
