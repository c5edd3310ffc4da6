//! `clone3(2)`: the arguments of `clone(2)` as a structure that can grow.
//!
//! A program says how long the structure is that it knows. What a longer one has behind what is known here has to be
//! zeros. There are no file descriptors for processes, no chosen numbers and no control groups.
//!
//! Source: Linux `kernel/fork.c` (`copy_clone_args_from_user`, `clone3_args_valid`), `include/uapi/linux/sched.h`.

use crate::abi::Errno;
use crate::abi::task::{CLONE_DETACHED, CLONE_PARENT, CLONE_THREAD, CSIGNAL};
use crate::abi::words::words_of;
use crate::kernel::Here;
use crate::memory::layout::{PAGE_SIZE, is_user_range};
use crate::platform::Platform;
use crate::signal::Signo;
use crate::task::clone::CloneArgs;

/// The first version of `struct clone_args`, and the one with all that is known here: `set_tid` and `cgroup` came later.
const LEN_MIN: u64 = 64;
const LEN: usize = 88;

impl CloneArgs {
    /// Reads the structure of `clone3`.
    pub(crate) fn read<P: Platform>(here: &Here<'_, P>, at: u64, len: u64) -> Result<Self, Errno> {
        if len > PAGE_SIZE {
            return Err(Errno::TooBig);
        }
        if len < LEN_MIN {
            return Err(Errno::Invalid);
        }
        let mut bytes = [0; LEN];
        let known = usize::try_from(len).map_or(LEN, |len| len.min(LEN));
        check_rest(here, at, len)?;
        here.read_into(at, bytes.get_mut(..known).unwrap_or_default())?;
        Self::from_words(words_of(&bytes))
    }

    fn from_words(words: [u64; LEN / 8]) -> Result<Self, Errno> {
        let [
            flags,
            pidfd,
            child_tid,
            parent_tid,
            exit_signal,
            stack,
            stack_len,
            tls,
            set_tid,
            nr_set_tid,
            cgroup,
        ] = words;
        let is_signal = exit_signal == 0
            || i32::try_from(exit_signal).is_ok_and(|signo| Signo::new(signo).is_some());
        let is_refused = !is_signal
            || set_tid != 0
            || nr_set_tid != 0
            || flags & (CSIGNAL | CLONE_DETACHED) != 0
            || flags & (CLONE_THREAD | CLONE_PARENT) != 0 && exit_signal != 0
            || (stack == 0) != (stack_len == 0)
            || !is_user_range(stack, stack_len);
        if is_refused {
            return Err(Errno::Invalid);
        }
        // Of no meaning without the flags that they belong to, which are refused.
        let _ = (pidfd, cgroup);
        Ok(Self {
            flags: flags | exit_signal,
            stack: stack + stack_len,
            parent_tid,
            child_tid,
            tls,
            is_extended: true,
        })
    }
}

/// What is behind the part that is known.
fn check_rest<P: Platform>(here: &Here<'_, P>, at: u64, len: u64) -> Result<(), Errno> {
    let mut done = LEN as u64;
    while done < len {
        let word = here.read::<1>(at.wrapping_add(done))?;
        if word != [0] {
            return Err(Errno::TooBig);
        }
        done += 1;
    }
    Ok(())
}
