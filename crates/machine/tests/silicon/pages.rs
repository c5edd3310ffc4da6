//! Pages of this process with a protection and a key.

use core::ptr;

use pkeys_core::LeafSize;

use crate::processor::RET;

/// All keys but 0, allocated for the whole run.
#[derive(Debug)]
pub(crate) struct Keys(Vec<u8>);

impl Keys {
    /// Allocates all that there are; says so if `pkey_alloc(2)` refuses the first.
    pub(crate) fn all() -> Result<Self, String> {
        let mut numbers = Vec::new();
        loop {
            // SAFETY: two numbers; changes the new key's bits in PKRU, which open it.
            let pkey = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) };
            match u8::try_from(pkey) {
                Ok(pkey) => numbers.push(pkey),
                Err(_) if numbers.is_empty() => {
                    return Err(format!("pkey_alloc: {}", std::io::Error::last_os_error()));
                }
                Err(_) => return Ok(Self(numbers)),
            }
        }
    }

    pub(crate) fn numbers(&self) -> &[u8] {
        &self.0
    }
}

/// A protection, as `mprotect(2)` has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protection {
    None,
    Read,
    ReadWrite,
    ReadExecute,
    All,
}

impl Protection {
    pub(crate) const ALL: &[Self] = &[
        Self::None,
        Self::Read,
        Self::ReadWrite,
        Self::ReadExecute,
        Self::All,
    ];

    fn bits(self) -> i32 {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
            Self::ReadExecute => libc::PROT_READ | libc::PROT_EXEC,
            Self::All => libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        }
    }
}

/// One page of 4 KiB or 2 MiB, filled with RET instructions; never unmapped.
pub(crate) struct Pages {
    addr: *mut u8,
    size: LeafSize,
}

impl Pages {
    /// A page that is present and dirty.
    pub(crate) fn new(size: LeafSize) -> Self {
        let len = usize::try_from(size.bytes()).unwrap();
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // Twice the length holds an aligned page somewhere.
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), 2 * len, prot, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let start = start.cast::<u8>();
        let addr = start.wrapping_add(start.addr().wrapping_neg() % len);
        // SAFETY: within the mapping.
        unsafe {
            if size == LeafSize::Size2M {
                libc::madvise(addr.cast(), len, libc::MADV_HUGEPAGE);
            }
            addr.write_bytes(RET, len);
        }
        Self { addr, size }
    }

    pub(crate) fn addr(&self) -> u64 {
        self.addr.addr() as u64
    }

    /// `pkey_mprotect(2)`.
    pub(crate) fn protect(&self, protection: Protection, pkey: u8) {
        // SAFETY: the page is this value's own, and nothing of Rust's lies in it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pkey_mprotect,
                self.addr,
                self.size.bytes(),
                protection.bits(),
                i32::from(pkey),
            )
        };
        assert_eq!(result, 0, "{protection:?} {pkey}");
    }

    /// Whether the kernel gives pages of 2 MiB, and leaves them whole when their protection changes.
    pub(crate) fn huge_pages() -> Result<(), String> {
        let page = Self::new(LeafSize::Size2M);
        for &protection in Protection::ALL {
            page.protect(protection, 1);
            if !page.is_huge() {
                return Err(format!(
                    "the kernel gives no pages of 2 MiB ({protection:?})"
                ));
            }
        }
        Ok(())
    }

    /// Whether `/proc/self/smaps` counts 2 MiB in large pages for the mapping that holds the page.
    fn is_huge(&self) -> bool {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_it = false;
        for line in smaps.lines() {
            let ends = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let ends =
                ends.map(|(start, end)| [start, end].map(|end| u64::from_str_radix(end, 16)));
            if let Some([Ok(start), Ok(end)]) = ends {
                is_it = (start..end).contains(&self.addr());
            } else if let (true, Some(kib)) = (is_it, line.strip_prefix("AnonHugePages:")) {
                return kib.trim() == "2048 kB";
            }
        }
        false
    }
}
