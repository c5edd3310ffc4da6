//! The real processor: one access under a value of PKRU, and what came of it.
//!
//! The access is one instruction between two WRPKRU. If it faults, the handler of SIGSEGV writes what it was told into
//! registers of the frame, and lets the program go on behind the access: nothing is shared between threads. R10 says that
//! a fault was expected, in R11 stands where to go on. Any other SIGSEGV ends the process.

use core::arch::asm;
use core::mem;

use pkeys_arch::Pku;
use pkeys_core::{Access, KeyRegister};

/// The instruction RET.
pub(crate) const RET: u8 = 0xC3;

/// What R10 holds while a fault is expected.
const EXPECTED: i64 = 0x5EC7_ED0F_A017;

/// What the handler was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) si_code: i32,
    pub(crate) addr: u64,
    pub(crate) err: u64,
    pub(crate) trapno: u64,
    pub(crate) cr2: u64,
}

/// A processor with protection keys, whose faults are caught.
#[derive(Clone, Copy)]
pub(crate) struct Processor {
    pku: Pku,
}

impl Processor {
    /// The processor, or what is missing.
    pub(crate) fn probe() -> Result<Self, String> {
        let (pku, _) = Pku::probe().map_err(|missing| missing.to_string())?;
        // SAFETY: `caught` has the signature that SA_SIGINFO demands, and touches its arguments alone.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = caught as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(
                libc::sigaction(libc::SIGSEGV, &raw const action, core::ptr::null_mut()),
                0
            );
        }
        Ok(Self { pku })
    }

    /// Makes an access with PKRU set to a value, which leaves key 0 open. A write puts a RET, a fetch calls the RET that
    /// is there.
    pub(crate) fn access(self, access: Access, addr: u64, pkru: KeyRegister) -> Result<(), Signal> {
        let before = self.pku.read();
        // R12 is 0 as long as the handler was not there; the others are its words.
        let (mut has_faulted, mut si_code, mut err, mut at): (u64, u64, u64, u64) = (0, 0, 0, 0);
        let (mut trapno, mut cr2): (u64, u64) = (0, 0);
        macro_rules! one {
            ($instruction:literal) => {
                // SAFETY: the address is in a page of the test's own that holds nothing but RET, or the access faults
                // and is passed over. The stack is put back, PKRU too, and all that is changed is declared.
                unsafe {
                    asm!(
                        "wrpkru",
                        "lea r11, [rip + 2f]",
                        "mov r9, rsp",
                        $instruction,
                        "2:",
                        "mov rsp, r9",
                        "mov eax, {before:e}",
                        "xor ecx, ecx",
                        "xor edx, edx",
                        "wrpkru",
                        before = in(reg) before.bits(),
                        in("eax") pkru.bits(),
                        in("ecx") 0,
                        in("edx") 0,
                        in("rsi") addr,
                        in("r10") EXPECTED,
                        inout("r8") cr2,
                        out("r9") _,
                        out("r11") _,
                        inout("r12") has_faulted,
                        inout("r13") si_code,
                        inout("r14") err,
                        inout("r15") at,
                        inout("rdi") trapno,
                        lateout("rax") _,
                        lateout("rcx") _,
                        lateout("rdx") _,
                    );
                }
            };
        }
        match access {
            Access::Read => one!("mov al, [rsi]"),
            Access::Write => one!("mov byte ptr [rsi], 0xC3"),
            Access::Fetch => one!("call rsi"),
        }
        if has_faulted == 0 {
            return Ok(());
        }
        Err(Signal {
            si_code: si_code as i32,
            addr: at,
            err,
            trapno,
            cr2,
        })
    }

    /// Runs a function with PKRU set to a value, which leaves key 0 open.
    pub(crate) fn under<T>(self, pkru: KeyRegister, body: impl FnOnce() -> T) -> T {
        let before = self.pku.read();
        // SAFETY: key 0 stays open, and nothing but the test's pages has another; the test owns all keys.
        unsafe { self.pku.write(pkru) };
        let result = body();
        // SAFETY: as it was.
        unsafe { self.pku.write(before) };
        result
    }
}

/// The handler of SIGSEGV.
extern "C" fn caught(_: i32, info: *const libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gave both, and they live until the handler returns.
    unsafe {
        let gregs = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let register = |number: i32| number as usize;
        if gregs[register(libc::REG_R10)] != EXPECTED {
            // Not ours: back to the default action, and the same fault once more.
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            return;
        }
        gregs[register(libc::REG_R8)] = gregs[register(libc::REG_CR2)];
        gregs[register(libc::REG_R12)] = 1;
        gregs[register(libc::REG_R13)] = (*info).si_code.into();
        gregs[register(libc::REG_R14)] = gregs[register(libc::REG_ERR)];
        gregs[register(libc::REG_R15)] = (*info).si_addr().addr() as i64;
        gregs[register(libc::REG_RDI)] = gregs[register(libc::REG_TRAPNO)];
        gregs[register(libc::REG_RIP)] = gregs[register(libc::REG_R11)];
    }
}

/// A pipe, through which the kernel copies single bytes.
pub(crate) struct Pipe {
    ends: [i32; 2],
}

impl Pipe {
    pub(crate) fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: an array of two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        Self { ends }
    }

    /// Whether `write(2)` takes a byte from this address. The pipe is empty before and after.
    pub(crate) fn write_from(&mut self, addr: u64) -> bool {
        let is_copied = self.copy(libc::SYS_write, addr);
        if is_copied {
            self.drain();
        }
        is_copied
    }

    /// Whether `read(2)` puts a byte, a RET, to this address. The pipe is empty before and after.
    pub(crate) fn read_to(&mut self, addr: u64) -> bool {
        let byte = RET;
        assert!(self.copy(libc::SYS_write, (&raw const byte).addr() as u64));
        let is_copied = self.copy(libc::SYS_read, addr);
        if !is_copied {
            self.drain();
        }
        is_copied
    }

    /// Takes the byte out that is in the pipe.
    fn drain(&mut self) {
        let mut byte = 0_u8;
        assert!(self.copy(libc::SYS_read, (&raw mut byte).addr() as u64));
    }

    /// Whether the kernel copies one byte; if not, the error is EFAULT.
    fn copy(&mut self, call: libc::c_long, addr: u64) -> bool {
        let end = self.ends[usize::from(call == libc::SYS_write)];
        // SAFETY: one byte, at an address that the kernel checks: the caller's own, or one of the test's pages.
        let result = unsafe { libc::syscall(call, end, addr, 1) };
        if result == 1 {
            return true;
        }
        let error = std::io::Error::last_os_error().raw_os_error();
        assert_eq!((result, error), (-1, Some(libc::EFAULT)));
        false
    }
}
