//! A program into an address space: its segments, its stack.

use pkeys_image::elf::{BadElf, Credentials, Elf, InitialStack};
use pkeys_kernel::abi::{Errno, MapFlags, Prot};
use pkeys_kernel::memory::layout::TASK_SIZE;
use pkeys_kernel::memory::{Caller, Space};
use pkeys_kernel::platform::{Image, Program};
use pkeys_kernel::signal::frame::FRAME_LEN;

use super::cpu::ThisCpu;
use super::memory::DirectMap;
use super::tables::SpaceTables;
use super::{files, kernel};
use crate::cpu::random;
use crate::memory::layout::{PAGE, to_usize};
use crate::say;
use crate::sync::RawSpin;

/// The bytes of a program's stack: `RLIMIT_STACK` as Linux sets it.
const STACK_LEN: u64 = 8 << 20;
/// How much of it the arguments may take.
const ARGUMENTS_LEN: u64 = STACK_LEN / 4;

/// What aligning may take of a signal's stack: 16 for the frame, 64 for the extended state, 128 of red zone.
const SIGNAL_ALIGNMENT: u64 = 16 + 64 + 128;

type UserSpace = Space<DirectMap, RawSpin, SpaceTables>;

/// Puts a program into an empty address space.
pub(super) fn load(
    caller: &Caller<'_, ThisCpu>,
    space: &UserSpace,
    program: &Program,
) -> Result<Image, Errno> {
    let file = files::find(&program.path).ok_or(Errno::NoEntry)?;
    let elf = Elf::parse(file.bytes).map_err(|bad| refuse(&program.path, &bad))?;
    for segment in elf.segments() {
        map(caller, space, segment.pages, segment.prot)?;
        write(caller, space, segment.data_at, segment.data)?;
    }
    space.set_brk_start(elf.end());
    let mut prot = Prot::READ | Prot::WRITE;
    if elf.wants_executable_stack() {
        prot |= Prot::EXEC;
    }
    map(caller, space, TASK_SIZE - STACK_LEN..TASK_SIZE, prot)?;
    let config = kernel().config();
    let mut random_bytes = [0; 16];
    random::fill(&mut random_bytes);
    let features = core::arch::x86_64::__cpuid(1);
    let stack = InitialStack {
        top: TASK_SIZE,
        room: ARGUMENTS_LEN,
        path: file.path,
        argv: &program.argv,
        envp: &program.envp,
        credentials: Credentials {
            uid: config.uid,
            gid: 0,
        },
        random: random_bytes,
        hwcap: u64::from(features.edx),
        hwcap2: 0,
        min_signal_stack: config.xstate.frame_len() + FRAME_LEN + SIGNAL_ALIGNMENT,
    };
    let stack = stack.build(&elf).map_err(|_| Errno::TooBig)?;
    write(caller, space, stack.pointer, &stack.bytes)?;
    Ok(Image {
        entry: elf.entry(),
        stack: stack.pointer,
    })
}

/// Says what is wrong with a file.
fn refuse(path: &[u8], bad: &BadElf<'_>) -> Errno {
    say!("pkeys: {}: {bad}", path.escape_ascii());
    Errno::NoExecutable
}

fn map(
    caller: &Caller<'_, ThisCpu>,
    space: &UserSpace,
    pages: core::ops::Range<u64>,
    prot: Prot,
) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED;
    let len = pages.end - pages.start;
    space.mmap(
        caller,
        pages.start,
        len,
        prot.bits(),
        flags.bits(),
        u64::MAX,
        0,
    )?;
    Ok(())
}

/// Writes a page at a time, since interrupts are kept out meanwhile.
fn write(
    caller: &Caller<'_, ThisCpu>,
    space: &UserSpace,
    at: u64,
    bytes: &[u8],
) -> Result<(), Errno> {
    for (at, bytes) in (at..)
        .step_by(to_usize(PAGE))
        .zip(bytes.chunks(to_usize(PAGE)))
    {
        space
            .write_remote(caller.cpu, at, bytes, true)
            .map_err(|_| Errno::NoMemory)?;
    }
    Ok(())
}
