//! The kernel: an inverted page table (an entry for each frame, which says whose page is in it), address spaces that are
//! lists behind a mutex, and a CPU that is a value with one register in it.

use core::cell::{Cell, RefCell};
use core::ops::Range;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pkeys_core::{Access, AccessBits, KeyRegister, PageFaultErrorCode, Pkey};
use pkeys_kernel::abi::{Errno, Prot};
use pkeys_kernel::keys::fault::{self, Segv, Verdict};
use pkeys_kernel::keys::{InitPkru, KeyedMapping, PkruRegister, SpaceKeys, ThreadKeys, get_set};

/// The CPU: here a register in memory, on hardware the instructions RDPKRU and WRPKRU.
#[derive(Debug)]
pub(crate) struct Cpu(Cell<KeyRegister>);

impl PkruRegister for Cpu {
    fn read(&self) -> KeyRegister {
        self.0.get()
    }

    fn write(&self, pkru: KeyRegister) {
        self.0.set(pkru);
    }
}

/// An entry of the inverted page table: a frame, and whose page is in it. Contents are a byte, which is enough for a story.
#[derive(Debug, Clone, Copy)]
struct Frame {
    space: u32,
    page: u64,
    prot: Prot,
    pkey: Pkey,
    content: u8,
}

/// A mapping.
#[derive(Debug, Clone)]
pub(crate) struct Area {
    pages: Range<u64>,
    keyed: KeyedMapping,
}

/// An address space.
#[derive(Debug)]
pub(crate) struct Space {
    id: u32,
    pub(crate) keys: SpaceKeys,
    /// The lock, under which the map of keys and the keys of pages change.
    areas: Mutex<Vec<Area>>,
}

impl Space {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Area>> {
        self.areas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) space: Rc<Space>,
    pub(crate) keys: ThreadKeys,
}

/// The kernel and its one CPU.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) init: InitPkru,
    pub(crate) cpu: Cpu,
    frames: RefCell<Vec<Frame>>,
    nr_spaces: Cell<u32>,
}

impl Kernel {
    /// Boots, with the boot parameter `init_pkru=`.
    pub(crate) fn boot(init_pkru: &str) -> Self {
        let init = InitPkru::parse(init_pkru).unwrap_or_default();
        Self {
            init,
            cpu: Cpu(Cell::new(init.register())),
            frames: RefCell::default(),
            nr_spaces: Cell::new(0),
        }
    }

    fn new_space(&self, keys: SpaceKeys, areas: Vec<Area>) -> Rc<Space> {
        self.nr_spaces.set(self.nr_spaces.get() + 1);
        Rc::new(Space {
            id: self.nr_spaces.get(),
            keys,
            areas: Mutex::new(areas),
        })
    }

    /// The first thread of the first program.
    pub(crate) fn first_thread(&self) -> Thread {
        Thread {
            space: self.new_space(SpaceKeys::new(), Vec::new()),
            keys: ThreadKeys::new(self.init),
        }
    }

    /// What a user instruction does: the MMU looks into the table, and where it refuses the kernel is asked.
    pub(crate) fn access(&self, thread: &Thread, page: u64, access: Access) -> Result<u8, Segv> {
        loop {
            let code = {
                let mut frames = self.frames.borrow_mut();
                let frame = frames
                    .iter_mut()
                    .find(|frame| frame.space == thread.space.id && frame.page == page);
                match frame.map(|frame| (self.refusal(frame, access), frame)) {
                    Some((None, frame)) => {
                        frame.content += u8::from(access == Access::Write);
                        return Ok(frame.content);
                    }
                    Some((Some(reasons), _)) => PageFaultErrorCode::P | reasons,
                    None => 0,
                }
            };
            let kind = match access {
                Access::Read => 0,
                Access::Write => PageFaultErrorCode::W,
                Access::Fetch => PageFaultErrorCode::I,
            };
            let code = PageFaultErrorCode::from_bits(code | kind | PageFaultErrorCode::U);
            self.fault(thread, page, code)?;
        }
    }

    /// The MMU's rule: `None` where the access goes through, else what the error code says of the reason.
    fn refusal(&self, frame: &Frame, access: Access) -> Option<u32> {
        let needed = match access {
            Access::Read => Prot::ACCESS,
            Access::Write => Prot::WRITE,
            Access::Fetch => Prot::EXEC,
        };
        if !self.cpu.read().allows(frame.pkey, access) {
            return Some(PageFaultErrorCode::PK);
        }
        (!frame.prot.intersects(needed)).then_some(0)
    }

    /// The page fault: one look for the area, and the library's verdict.
    fn fault(&self, thread: &Thread, page: u64, code: PageFaultErrorCode) -> Result<(), Segv> {
        let areas = thread.space.lock();
        let area = areas.iter().find(|area| area.pages.contains(&page));
        let keyed = area.ok_or(Segv::MAPERR)?.keyed;
        match fault::judge(keyed, code, Some(self.cpu.read())) {
            Verdict::Signal(segv) => Err(segv),
            Verdict::BringIn => {
                self.frames.borrow_mut().push(Frame {
                    space: thread.space.id,
                    page,
                    prot: keyed.prot,
                    pkey: keyed.pkey,
                    content: 0,
                });
                Ok(())
            }
        }
    }

    pub(crate) fn map(&self, thread: &Thread, pages: Range<u64>, prot: Prot) {
        let mut areas = thread.space.lock();
        let pkey = thread
            .space
            .keys
            .key_for_map(prot, &thread.keys, Some(&self.cpu));
        let keyed = KeyedMapping { prot, pkey };
        areas.push(Area { pages, keyed });
    }

    /// `pkey_mprotect`, and with -1 `mprotect`, of one whole area.
    pub(crate) fn protect(
        &self,
        thread: &Thread,
        page: u64,
        prot: Prot,
        pkey: i32,
    ) -> Result<Pkey, Errno> {
        let space = &thread.space;
        let mut areas = space.lock();
        space.keys.check(pkey)?;
        let area = areas
            .iter_mut()
            .find(|area| area.pages.contains(&page))
            .ok_or(Errno::NoMemory)?;
        let register = Some(&self.cpu as &dyn PkruRegister);
        let pkey = space
            .keys
            .key_for_protect(area.keyed, prot, pkey, &thread.keys, register);
        area.keyed = KeyedMapping { prot, pkey };
        // What is in already. This machine has no TLB; one that has forgets it here.
        for frame in self.frames.borrow_mut().iter_mut() {
            if frame.space == space.id && area.pages.contains(&frame.page) {
                (frame.prot, frame.pkey) = (prot, pkey);
            }
        }
        Ok(pkey)
    }

    pub(crate) fn alloc(&self, thread: &Thread, rights: u64) -> Result<Pkey, Errno> {
        let _areas = thread.space.lock();
        let register = Some(&self.cpu as &dyn PkruRegister);
        thread.space.keys.alloc(0, rights, &thread.keys, register)
    }

    pub(crate) fn free(thread: &Thread, pkey: Pkey) -> Result<(), Errno> {
        let _areas = thread.space.lock();
        thread.space.keys.free(pkey.into())
    }

    pub(crate) fn get(&self, thread: &Thread, pkey: Pkey) -> Result<AccessBits, Errno> {
        let map = thread.space.keys.map();
        get_set::pkey_get(map, Some(&self.cpu), pkey.into(), 0)
    }

    pub(crate) fn set(&self, thread: &Thread, pkey: Pkey, rights: u64) -> Result<(), Errno> {
        let map = thread.space.keys.map();
        let register = Some(&self.cpu as &dyn PkruRegister);
        get_set::pkey_set(map, &thread.keys, register, pkey.into(), rights, 0)
    }

    pub(crate) fn fork(&self, thread: &Thread) -> Thread {
        let areas = thread.space.lock();
        let space = self.new_space(thread.space.keys.fork(), areas.clone());
        let mut frames = self.frames.borrow_mut();
        let copies: Vec<Frame> = frames
            .iter()
            .filter(|frame| frame.space == thread.space.id)
            .map(|frame| Frame {
                space: space.id,
                ..*frame
            })
            .collect();
        frames.extend(copies);
        let keys = thread.keys.inherit(&self.cpu, self.init);
        Thread { space, keys }
    }

    pub(crate) fn exec(&self, thread: &mut Thread) {
        thread.space = self.new_space(SpaceKeys::new(), Vec::new());
        thread.keys.exec(&self.cpu, self.init);
    }

    pub(crate) fn switch(&self, from: &Thread, to: &Thread) {
        from.keys.switch_to(&to.keys, &self.cpu);
    }
}
