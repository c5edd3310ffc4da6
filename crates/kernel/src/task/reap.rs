//! Waiting for children: `wait4(2)`.
//!
//! Children that have ended are reported and forgotten. So are the stops of threads that the caller traces, once each, and
//! those of untraced children with `WUNTRACED`. A child that somebody else traces is invisible until its tracer has heard
//! of its end.
//!
//! Source: Linux `kernel/exit.c` (`do_wait`, `wait_consider_task`, `kernel_wait4`).

use crate::abi::Errno;
use crate::abi::signal::SIGCHLD;
use crate::abi::task::{WALL, WCLONE, WCONTINUED, WNOHANG, WNOTHREAD, WUNTRACED};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::syscall::CallEnd;
use crate::task::status::{CONTINUED, stop_status};
use crate::task::table::{ProcessEntry, Tasks};
use crate::task::wait::WaitFor;

/// The size of `struct rusage`.
const RUSAGE_LEN: usize = 144;

/// Whom a call waits for.
#[derive(Clone, Copy)]
struct Wanted {
    /// As in the call: a number, -1 for anybody, 0 or less for a group.
    pid: i32,
    options: u32,
    caller: i32,
    group: i32,
}

/// What has happened to somebody.
struct Event {
    id: i32,
    status: i32,
}

impl<P: Platform> Kernel<P> {
    /// `pid_t wait4(pid_t pid, int *wstatus, int options, struct rusage *rusage);`
    ///
    /// Nothing is known of the use of resources: `rusage` is zeros.
    pub(crate) fn wait4(
        &self,
        here: &Here<'_, P>,
        pid: i32,
        status: u64,
        options: u32,
        rusage: u64,
    ) -> Result<u64, CallEnd> {
        const KNOWN: u32 = WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE;
        if options & !KNOWN != 0 {
            return Err(Errno::Invalid.into());
        }
        if pid == i32::MIN {
            return Err(Errno::NoProcess.into());
        }
        here.running.thread.set_woken(false);
        let found = self.with_tasks(|tasks| {
            let group = tasks.processes.get(&here.pid()).map_or(0, |own| own.group);
            let wanted = Wanted {
                pid,
                options,
                caller: here.pid(),
                group,
            };
            self.find_event(tasks, wanted)
        })?;
        let Some(event) = found else {
            if options & WNOHANG != 0 {
                return Ok(0);
            }
            return Err(CallEnd::Wait(WaitFor::Child, 0));
        };
        if status != 0 {
            here.write(status, &event.status.to_le_bytes())?;
        }
        if rusage != 0 {
            here.write(rusage, &[0; RUSAGE_LEN])?;
        }
        Ok(u64::from(event.id.unsigned_abs()))
    }

    fn find_event(&self, tasks: &mut Tasks<P>, wanted: Wanted) -> Result<Option<Event>, Errno> {
        let mut has_any = false;
        let candidates: alloc::vec::Vec<i32> = tasks.processes.keys().copied().collect();
        for pid in candidates {
            let Some(entry) = tasks.processes.get_mut(&pid) else {
                continue;
            };
            let is_tracer = entry.tracer_pid == Some(wanted.caller);
            let is_child = entry.parent == wanted.caller;
            if !(is_child || is_tracer && entry.is_zombie) || !is_eligible(entry, &wanted, pid) {
                continue;
            }
            has_any = true;
            if let Some(event) = self.event_of(tasks, pid, &wanted) {
                return Ok(Some(event));
            }
        }
        let traced = find_stop(tasks, wanted);
        match traced {
            Ok(event) => Ok(Some(event)),
            Err(has_traced) if has_any || has_traced => Ok(None),
            Err(_) => Err(Errno::NoChild),
        }
    }

    /// What has happened to a child, or to the process of a thread that was traced. It is not reported again.
    fn event_of(&self, tasks: &mut Tasks<P>, pid: i32, wanted: &Wanted) -> Option<Event> {
        let entry = tasks.processes.get_mut(&pid)?;
        if entry.is_zombie {
            let status = entry.end?.wait_status();
            match entry.tracer_pid {
                None => {
                    tasks.processes.remove(&pid);
                }
                Some(tracer) if tracer == wanted.caller => {
                    entry.tracer_pid = None;
                    self.tell_parent(tasks, pid);
                }
                // Somebody else is to hear of it first.
                Some(_) => return None,
            }
            return Some(Event { id: pid, status });
        }
        if wanted.options & WUNTRACED != 0
            && let Some(stop) = entry.stop.as_mut().filter(|stop| !stop.is_reported)
        {
            stop.is_reported = true;
            let status = stop_status(stop.signo);
            return Some(Event { id: pid, status });
        }
        if wanted.options & WCONTINUED != 0 && entry.is_continued {
            entry.is_continued = false;
            return Some(Event {
                id: pid,
                status: CONTINUED,
            });
        }
        None
    }
}

/// Whether a call wants to know about a child.
fn is_eligible<P: Platform>(entry: &ProcessEntry<P>, wanted: &Wanted, pid: i32) -> bool {
    let is_named = match wanted.pid {
        -1 => true,
        0 => entry.group == wanted.group,
        named @ 1.. => named == pid,
        group => entry.group == -group,
    };
    let is_clone = entry.exit_signal != SIGCHLD;
    let is_traced = entry.tracer_pid == Some(wanted.caller);
    let wants_clone = wanted.options & WCLONE != 0;
    is_named && (is_traced || wanted.options & WALL != 0 || is_clone == wants_clone)
}

/// The first stop of a thread that the caller traces. `Err` says whether there is any such thread.
fn find_stop<P: Platform>(tasks: &mut Tasks<P>, wanted: Wanted) -> Result<Event, bool> {
    let mut has_any = false;
    for (tid, entry) in &mut tasks.threads {
        let Some(trace) = &mut entry.trace else {
            continue;
        };
        // Whoever waits for a group gets the threads of all groups that it traces.
        let is_named = wanted.pid <= 0 || wanted.pid == *tid;
        if trace.tracer_pid != wanted.caller || !is_named {
            continue;
        }
        has_any = true;
        if let Some(stop) = trace.stop.as_mut().filter(|stop| !stop.is_reported) {
            stop.is_reported = true;
            return Ok(Event {
                id: *tid,
                status: stop_status(stop.code),
            });
        }
    }
    Err(has_any)
}
