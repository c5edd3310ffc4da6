//! The accesses that code on a CPU makes to memory.
//!
//! There are three kinds:
//!
//! * of a program in user mode: [`MachineCpu::user_read`], [`MachineCpu::user_write`] and [`MachineCpu::user_fetch`];
//! * of a kernel, to its own pages and, as far as SMAP and SMEP let it, to those of users: [`MachineCpu::access`] with
//!   [`Privilege::Supervisor`];
//! * of a kernel that copies to or from user memory (`read_user` and `write_user` of the trait). These suspend SMAP, and
//!   they refuse supervisor pages. A processor does not do the latter by itself, kernels compare the address with the
//!   end of user memory before they copy; here that comparison is a part of the copy.
//!
//! Each asks the TLB, else walks ([`crate::paging`]); then rights and keys decide ([`crate::permission`]).

use pkeys_core::{Access, LeafSize, PageFaultErrorCode, Privilege};
use pkeys_kernel::hardware::{HardwareFault, PhysAddr, PhysMemory, UserAccessFault};

use crate::cpu::MachineCpu;
use crate::exception::Exception;
use crate::memory::Memory;
use crate::paging::{self, Mapping};
use crate::permission::Request;

impl MachineCpu<'_> {
    /// Reads a byte in user mode.
    ///
    /// # Errors
    ///
    /// What the access raised.
    #[inline]
    pub fn user_read(&self, addr: u64) -> Result<u8, Exception> {
        let mut byte = 0;
        self.access(Privilege::User, Access::Read, addr, &mut byte)?;
        Ok(byte)
    }

    /// Writes a byte in user mode.
    ///
    /// # Errors
    ///
    /// What the access raised.
    #[inline]
    pub fn user_write(&self, addr: u64, mut byte: u8) -> Result<(), Exception> {
        self.access(Privilege::User, Access::Write, addr, &mut byte)
    }

    /// Fetches a byte of an instruction in user mode.
    ///
    /// # Errors
    ///
    /// What the access raised.
    #[inline]
    pub fn user_fetch(&self, addr: u64) -> Result<u8, Exception> {
        let mut byte = 0;
        self.access(Privilege::User, Access::Fetch, addr, &mut byte)?;
        Ok(byte)
    }

    /// Makes an access to one byte, in either mode: a read or a fetch puts it into `byte`, a write takes it from there.
    ///
    /// # Errors
    ///
    /// What the access raised.
    #[inline]
    pub fn access(
        &self,
        mode: Privilege,
        access: Access,
        addr: u64,
        byte: &mut u8,
    ) -> Result<(), Exception> {
        let at = self.resolve(addr, &self.request(mode, access))?.at(addr);
        match access {
            Access::Write => self.memory().write_byte(at, *byte),
            Access::Read | Access::Fetch => *byte = self.memory().read_byte(at),
        }
        Ok(())
    }

    #[inline]
    fn memory(&self) -> &Memory {
        self.machine.memory()
    }

    /// The translation for an access that goes through. A fault drops what the TLB holds for the address.
    #[inline]
    fn resolve(&self, addr: u64, request: &Request) -> Result<Mapping, Exception> {
        if !paging::is_canonical(addr) {
            return Err(Exception::GeneralProtection);
        }
        let cached = self.state.tlb.borrow().get(addr);
        let found = match cached {
            Some(mapping) => match request.check(mapping.rights) {
                Ok(()) if mapping.is_dirty || request.access != Access::Write => {
                    return Ok(mapping);
                }
                Ok(()) => {
                    self.state.tlb.borrow_mut().invalidate(addr);
                    self.walk(addr, request)
                }
                Err(code) => Err(code),
            },
            None => self.walk(addr, request),
        };
        found.map_err(|code| {
            self.state.tlb.borrow_mut().invalidate(addr);
            Exception::PageFault(HardwareFault { addr, code })
        })
    }

    /// Walks, and remembers where it led.
    fn walk(&self, addr: u64, request: &Request) -> Result<Mapping, PageFaultErrorCode> {
        self.state.count(|counters| counters.walks += 1);
        let root = self
            .root()
            .unwrap_or_else(|| panic!("CPU {}: no page tables loaded", self.number));
        let mapping = paging::translate(self.memory(), root, addr, request)?;
        self.state.tlb.borrow_mut().insert(addr, mapping);
        Ok(mapping)
    }

    /// Copies from user memory; see the top of this module.
    pub(crate) fn copy_from_user(&self, addr: u64, into: &mut [u8]) -> Result<(), UserAccessFault> {
        self.copy_user(addr, into.len(), Access::Read, |at, from, to| {
            self.memory().read(at, &mut into[from..to]);
        })
    }

    /// Copies to user memory.
    pub(crate) fn copy_to_user(&self, addr: u64, bytes: &[u8]) -> Result<(), UserAccessFault> {
        self.copy_user(addr, bytes.len(), Access::Write, |at, from, to| {
            self.memory().write(at, &bytes[from..to]);
        })
    }

    /// Copies `len` bytes between user memory and the kernel, page by page: `copy` gets each part's physical address,
    /// and the number of bytes before it and behind it.
    fn copy_user(
        &self,
        addr: u64,
        len: usize,
        access: Access,
        mut copy: impl FnMut(PhysAddr, usize, usize),
    ) -> Result<(), UserAccessFault> {
        let mut copied = 0;
        while copied < len {
            let at = addr.wrapping_add(copied as u64);
            let phys = self
                .user_page(at, access)
                .map_err(|fault| UserAccessFault { copied, fault })?;
            let page = LeafSize::Size4K.bytes();
            let left_in_page = usize::try_from(page - at % page).unwrap_or(len);
            let end = len.min(copied + left_in_page);
            copy(phys, copied, end);
            copied = end;
        }
        Ok(())
    }

    /// The physical address for one part of a copy.
    fn user_page(&self, addr: u64, access: Access) -> Result<PhysAddr, HardwareFault> {
        let request = Request {
            ac: true,
            ..self.request(Privilege::Supervisor, access)
        };
        match self.resolve(addr, &request) {
            Ok(mapping) if mapping.rights.is_user => Ok(mapping.at(addr)),
            Ok(_) => Err(HardwareFault {
                addr,
                code: request.code(PageFaultErrorCode::P),
            }),
            Err(Exception::PageFault(fault)) => Err(fault),
            // Copying code has a fixup for #GP as it has for #PF, and this seam has one word for both.
            Err(Exception::GeneralProtection) => Err(HardwareFault {
                addr,
                code: request.code(0),
            }),
        }
    }
}
