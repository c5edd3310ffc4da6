//! New threads and processes: `clone(2)`, `fork(2)`, `vfork(2)`, and the first process of all.
//!
//! A child has its creator's PKRU as it is at the call, whether it is a thread or a process; a new process has the same
//! keys allocated, and the same execute-only key. The first process starts with the initial value.
//!
//! What is left out: namespaces, `CLONE_PIDFD`, `CLONE_SIGHAND` and `CLONE_FILES` between processes (handlers are refused
//! with `EINVAL`, descriptors are copied), and waiting in `vfork`, which is `fork`.
//!
//! Source: Linux `kernel/fork.c` (`copy_process`, `kernel_clone`), `arch/x86/kernel/process.c` (`copy_thread`).

use alloc::sync::Arc;

use crate::abi::Errno;
use crate::abi::signal::SIGCHLD;
use crate::abi::task::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_CLEAR_SIGHAND, CLONE_DETACHED, CLONE_FILES,
    CLONE_FS, CLONE_IO, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PTRACE, CLONE_SETTLS,
    CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_UNTRACED, CLONE_VFORK, CLONE_VM, CSIGNAL,
};
use crate::files::Files;
use crate::hardware::Cpu as _;
use crate::kernel::{Here, Kernel};
use crate::keys::ThreadKeys;
use crate::memory::layout::TASK_SIZE;
use crate::platform::{Platform, Program, SpaceOf};
use crate::signal::AltStack;
use crate::signal::action::Actions;
use crate::signal::xstate::ExtendedState;
use crate::task::UserRegs;
use crate::task::process::{Inherited, Process};
use crate::task::processor::Processor;
use crate::task::table::{ProcessEntry, Tasks};
use crate::task::thread::{IdWords, Thread, ThreadStart, name_of};

/// Every flag that is understood.
const KNOWN: u64 = CSIGNAL
    | CLONE_VM
    | CLONE_FS
    | CLONE_FILES
    | CLONE_SIGHAND
    | CLONE_PTRACE
    | CLONE_VFORK
    | CLONE_PARENT
    | CLONE_THREAD
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID
    | CLONE_DETACHED
    | CLONE_UNTRACED
    | CLONE_CHILD_SETTID
    | CLONE_IO;

/// The arguments of `clone(2)`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    /// 0 for the caller's.
    pub(crate) stack: u64,
    pub(crate) parent_tid: u64,
    pub(crate) child_tid: u64,
    pub(crate) tls: u64,
    /// Whether they are those of `clone3(2)`, which has flags that do not fit `clone`.
    pub(crate) is_extended: bool,
}

impl CloneArgs {
    /// Those of `fork(2)`.
    pub(crate) fn fork() -> Self {
        Self {
            flags: u64::from(SIGCHLD.unsigned_abs()),
            ..Self::default()
        }
    }

    const fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// What can be said without looking at anything.
    fn check(&self) -> Result<(), Errno> {
        let known = if self.is_extended {
            KNOWN | CLONE_CLEAR_SIGHAND
        } else {
            KNOWN
        };
        let is_wrong = self.flags & !known != 0
            || self.has(CLONE_SIGHAND) && self.has(CLONE_CLEAR_SIGHAND)
            || self.has(CLONE_THREAD) && !self.has(CLONE_SIGHAND)
            || self.has(CLONE_SIGHAND) && !self.has(CLONE_VM)
            || self.has(CLONE_SIGHAND) && !self.has(CLONE_THREAD);
        if is_wrong {
            Err(Errno::Invalid)
        } else {
            Ok(())
        }
    }
}

impl<P: Platform> Kernel<P> {
    /// Makes the first process, or another one without a parent: with an address space in which nothing is mapped, and
    /// one thread of the same number, ready to run. The CPU says whether there are keys.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`], [`Errno::Again`] if there are too many threads.
    pub fn start(&self, processor: &Processor<P>, regs: UserRegs) -> Result<i32, Errno> {
        let space = Arc::new(self.new_space(processor.cpu().has_pku())?);
        self.start_in(space, regs, &[])
    }

    /// Makes a process without a parent that begins with a program, as [`Platform::load`] gives it.
    ///
    /// # Errors
    ///
    /// As [`Kernel::start`]; those of [`Platform::load`].
    pub fn spawn(&self, processor: &Processor<P>, program: &Program) -> Result<i32, Errno> {
        let (space, image) = self.load_program(processor, program)?;
        self.start_in(
            space,
            UserRegs::new(image.entry, image.stack),
            &program.path,
        )
    }

    fn start_in(&self, space: Arc<SpaceOf<P>>, regs: UserRegs, path: &[u8]) -> Result<i32, Errno> {
        let start = ThreadStart {
            keys: ThreadKeys::new(self.config.init_pkru),
            regs,
            xstate: ExtendedState::new(&self.config.xstate),
            blocked: crate::signal::SigSet::EMPTY,
            altstack: AltStack::NONE,
            fault: crate::signal::frame::LastFault::default(),
            ids: IdWords::default(),
            name: name_of(path),
        };
        self.with_tasks(|tasks| {
            let pid = self.new_id(tasks)?;
            let files = Files::new();
            let inherited = Inherited::first(&self.config, path);
            let actions = Actions::default();
            let process = Arc::new(Process::new(pid, space, actions, files, inherited));
            self.add_process(tasks, Arc::clone(&process), 0, pid, 0);
            self.add_thread(tasks, Thread::new(pid, process, start));
            Ok(pid)
        })
    }

    /// `long clone(unsigned long flags, void *stack, int *parent_tid, int *child_tid, unsigned long tls);`
    pub(crate) fn clone(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        args: CloneArgs,
    ) -> Result<u64, Errno> {
        args.check()?;
        let start = self.child_start(here, regs, &args)?;
        let parent = here.running.thread.process();
        let space = if args.has(CLONE_VM) && !args.has(CLONE_VFORK) {
            Arc::clone(&here.running.space)
        } else {
            Arc::new(here.running.space.fork(&here.caller())?)
        };
        let tid = self.with_tasks(|tasks| {
            // A process that is ending makes no more threads; its caller will never see this.
            if parent.is_ending() {
                return Err(Errno::Again);
            }
            let tid = self.new_id(tasks)?;
            let process = if args.has(CLONE_THREAD) {
                Arc::clone(parent)
            } else {
                self.child_process(tasks, here, tid, space, &args)
            };
            if args.has(CLONE_PARENT_SETTID) {
                // Its errors are not reported, and the child cannot run before.
                let _ = here.write(args.parent_tid, &tid.to_le_bytes());
            }
            self.add_thread(tasks, Thread::new(tid, process, start));
            Ok(tid)
        })?;
        Ok(u64::from(tid.unsigned_abs()))
    }

    /// What the child begins with.
    fn child_start(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        args: &CloneArgs,
    ) -> Result<ThreadStart, Errno> {
        let regs = child_regs(regs, args)?;
        let thread = &here.running.thread;
        let keys = match here.register() {
            Some(register) => thread.keys().inherit(register, self.config.init_pkru),
            None => ThreadKeys::new(self.config.init_pkru),
        };
        let xstate = {
            let mut xstate = thread.xstate.lock();
            self.platform
                .save_xstate(here.processor.cpu(), xstate.area_mut());
            xstate.clone()
        };
        let name = *thread.name.lock();
        let own = thread.signals.lock();
        let shares_memory = args.has(CLONE_VM) && !args.has(CLONE_VFORK);
        Ok(ThreadStart {
            keys,
            regs,
            xstate,
            blocked: own.blocked,
            // Two threads on one stack would not do.
            altstack: if shares_memory {
                AltStack::NONE
            } else {
                own.altstack
            },
            fault: own.fault,
            ids: IdWords {
                set: if args.has(CLONE_CHILD_SETTID) {
                    args.child_tid
                } else {
                    0
                },
                clear: if args.has(CLONE_CHILD_CLEARTID) {
                    args.child_tid
                } else {
                    0
                },
                robust: 0,
            },
            name,
        })
    }

    fn child_process(
        &self,
        tasks: &mut Tasks<P>,
        here: &Here<'_, P>,
        pid: i32,
        space: Arc<SpaceOf<P>>,
        args: &CloneArgs,
    ) -> Arc<Process<P>> {
        let parent = here.running.thread.process();
        let mut actions = parent.signals.lock().actions.clone();
        if args.has(CLONE_CLEAR_SIGHAND) {
            actions.exec();
        }
        let files = parent.files.lock().fork();
        let inherited = parent.inherited.lock().clone();
        // Who makes a file shorter from here on finds the child; who did so before did not.
        space.drop_behind_ends(here.processor.cpu());
        let process = Arc::new(Process::new(pid, space, actions, files, inherited));
        let own = tasks.processes.get(&here.pid());
        let group = own.map_or(pid, |entry| entry.group);
        let (parent, exit_signal) = match own {
            Some(own) if args.has(CLONE_PARENT) => (own.parent, own.exit_signal),
            _ => {
                // At most 255.
                let signal = i32::try_from(args.flags & CSIGNAL).unwrap_or(SIGCHLD);
                (here.pid(), signal)
            }
        };
        self.add_process(tasks, Arc::clone(&process), parent, group, exit_signal);
        process
    }

    fn new_id(&self, tasks: &mut Tasks<P>) -> Result<i32, Errno> {
        if tasks.threads.len() >= self.config.max_threads {
            return Err(Errno::Again);
        }
        tasks.new_id().ok_or(Errno::Again)
    }

    fn add_process(
        &self,
        tasks: &mut Tasks<P>,
        process: Arc<Process<P>>,
        parent: i32,
        group: i32,
        exit_signal: i32,
    ) {
        let entry = ProcessEntry {
            parent,
            group,
            exit_signal,
            threads: alloc::vec::Vec::new(),
            end: None,
            is_zombie: false,
            tracer_pid: None,
            stop: None,
            is_continued: false,
            death_signal: 0,
            process,
        };
        tasks.processes.insert(entry.process.pid(), entry);
    }

    fn add_thread(&self, tasks: &mut Tasks<P>, thread: Thread<P>) {
        let tid = thread.tid();
        tasks.add_thread(Arc::new(thread));
        self.platform.wake(tid);
    }

    /// `CLONE_CHILD_SETTID`, on the child's first way to user mode, under the child's keys.
    pub(crate) fn write_own_id(&self, here: &Here<'_, P>) {
        let set = core::mem::take(&mut here.running.thread.ids.lock().set);
        if set != 0 {
            // Its errors are not reported.
            let _ = here.write(set, &here.tid().to_le_bytes());
        }
    }

    /// `pid_t set_tid_address(int *tidptr);`
    pub(crate) fn set_tid_address(&self, here: &Here<'_, P>, addr: u64) -> u64 {
        here.running.thread.ids.lock().clear = addr;
        u64::from(here.tid().unsigned_abs())
    }
}

/// The child's registers: those of the call, with 0 for its result.
fn child_regs(regs: &UserRegs, args: &CloneArgs) -> Result<UserRegs, Errno> {
    let mut regs = *regs;
    regs.rax = 0;
    regs.orig_rax = UserRegs::NO_CALL;
    if args.stack != 0 {
        regs.rsp = args.stack;
    }
    if args.has(CLONE_SETTLS) {
        if args.tls >= TASK_SIZE {
            return Err(Errno::Perm);
        }
        regs.fs_base = args.tls;
    }
    Ok(regs)
}
