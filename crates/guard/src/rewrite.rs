//! Relocations that are changed before the loader applies them.
//!
//! The loader asks the audit library about bindings of the procedure linkage table only (`R_X86_64_JUMP_SLOT`). A function's
//! address that is taken, called through the global offset table or put into a static table has a relocation of another type
//! (`R_X86_64_GLOB_DAT`, `R_X86_64_64`), and would be bound past every gate. On x86-64 the loader treats the three alike, but for
//! that question: so the type is changed, while the object has been mapped and not been relocated.
//!
//! Inside a guarded library itself, constructors, destructors and the entries of virtual tables are pointers to code of its own, which
//! the loader or the program will call. Their relocations are pointed to gates: in tables with addends the addend is changed; where the library
//! has packed them (`DT_RELR`) the value is in the slot. Which tables these are is told by symbols, by the dynamic section, and in
//! libraries in C++ by their shape ([`tables`]).
#![allow(unsafe_code, reason = "tables of relocations in memory")]

use crate::bind::Bindings;
use crate::domain::Guarded;
use crate::elf::{Dynamic, LinkMap, Relocation, Segments};
use crate::map::{self, PAGE_BYTES};
use crate::tables::{self, Leads, Tables};
use std::collections::BTreeMap;

/// `R_X86_64_64`.
const ABSOLUTE: u64 = 1;
/// `R_X86_64_GLOB_DAT`.
const GLOB_DAT: u64 = 6;
/// `R_X86_64_JUMP_SLOT`.
const JUMP_SLOT: u64 = 7;
/// `R_X86_64_RELATIVE`.
const RELATIVE: u64 = 8;

/// What is done to the relocations of one object.
pub(crate) struct Rewrite<'a> {
    pub(crate) map: &'a LinkMap,
    pub(crate) dynamic: &'a Dynamic,
    /// The domain of the object, if it has one.
    pub(crate) guarded: Option<&'static Guarded>,
    pub(crate) segments: &'a Segments,
    /// Whether it is the C library, which binds its own allocator by name.
    pub(crate) is_libc: bool,
}

impl Rewrite<'_> {
    /// Changes what is to be changed. Gives how many relocations that were, or nothing where the table cannot be written.
    pub(crate) fn apply(&self, bindings: &mut Bindings) -> Option<usize> {
        let own_tables = self.own_tables();
        let (table, count) = self.dynamic.relocations();
        let mut changes = Vec::new();
        for index in 0..count {
            let place = table.wrapping_add(index);
            // SAFETY: within the object's table, as its dynamic section states.
            let relocation = unsafe { place.read() };
            if let Some(changed) = self.change(relocation, &own_tables, bindings) {
                changes.push((place, changed));
            }
        }
        if !changes.is_empty() {
            let start = table.addr() & !(PAGE_BYTES - 1);
            let end = (table.addr() + count * size_of::<Relocation>()).next_multiple_of(PAGE_BYTES);
            // Whether the object's own headers make the table writable is not asked: it is read-only again afterwards, unless it
            // lies in a segment that can be written.
            let is_in_data = self
                .segments
                .data
                .iter()
                .any(|data| data.contains(&table.addr()));
            if !is_in_data && !map::protect(start, end - start, libc::PROT_READ | libc::PROT_WRITE)
            {
                return None;
            }
            for (place, relocation) in &changes {
                // SAFETY: within the table, which was made writable; the loader reads it after this.
                unsafe { place.write(*relocation) };
            }
            if !is_in_data {
                map::protect(start, end - start, libc::PROT_READ);
            }
        }
        let packed = self.gate_packed(&own_tables, bindings);
        Some(changes.len() + packed)
    }

    /// Tables of the library's own whose entries others call.
    fn own_tables(&self) -> Tables {
        if self.guarded.is_none() {
            return Tables::default();
        }
        let mut tables = self.dynamic.virtual_tables();
        tables.extend(self.dynamic.constructors_and_destructors());
        if self.map.needs_cxx(self.dynamic) {
            tables.extend(tables::virtual_tables(&self.relocated_words()));
        }
        Tables::new(tables)
    }

    /// Every word of the object that will hold an address, and where that leads.
    fn relocated_words(&self) -> BTreeMap<usize, Leads> {
        let leads = |is_code| {
            if is_code {
                Leads::ToCode
            } else {
                Leads::Elsewhere
            }
        };
        let (table, count) = self.dynamic.relocations();
        let listed = (0..count).map(|index| {
            // SAFETY: within the object's table, as its dynamic section states.
            let relocation = unsafe { table.wrapping_add(index).read() };
            let is_code = match relocation.kind() {
                RELATIVE => self.is_code(self.map.addr.wrapping_add(relocation.addend)),
                ABSOLUTE => {
                    let symbol = self.dynamic.symbol(relocation.symbol());
                    symbol.is_plain_function()
                }
                _ => false,
            };
            (self.map.addr + relocation.offset, leads(is_code))
        });
        let packed = self.dynamic.packed().into_iter().map(|place| {
            let value = core::ptr::with_exposed_provenance::<usize>(place);
            // SAFETY: a word that has a packed relocation.
            let value = unsafe { value.read() };
            (
                place,
                leads(self.is_code(self.map.addr.wrapping_add(value))),
            )
        });
        listed
            .chain(packed)
            .filter(|(place, _)| place.is_multiple_of(size_of::<usize>()))
            .collect()
    }

    /// Whether an address is in the code of the object, a guarded library.
    fn is_code(&self, addr: usize) -> bool {
        self.segments.code.iter().any(|code| code.contains(&addr))
    }

    fn change(
        &self,
        relocation: Relocation,
        own_tables: &Tables,
        bindings: &mut Bindings,
    ) -> Option<Relocation> {
        let kind = relocation.kind();
        let place = self.map.addr + relocation.offset;
        let is_own = own_tables.contains(place);
        let own = |function: usize, bindings: &mut Bindings| {
            let gate = self.own_gate(function, bindings)?;
            Some(Relocation {
                info: RELATIVE,
                addend: gate.wrapping_sub(self.map.addr),
                ..relocation
            })
        };
        match kind {
            RELATIVE if is_own => own(self.map.addr.wrapping_add(relocation.addend), bindings),
            ABSOLUTE | GLOB_DAT => {
                let symbol = self.dynamic.symbol(relocation.symbol());
                if !symbol.is_plain_function() {
                    return None;
                }
                if is_own && symbol.is_defined() {
                    let function = self.map.addr + symbol.value;
                    return own(function.wrapping_add(relocation.addend), bindings);
                }
                let is_bound = !symbol.is_defined() || self.is_libc;
                let is_whole = kind == GLOB_DAT || relocation.addend == 0;
                (is_bound && is_whole).then_some(Relocation {
                    info: relocation.info & !0xFFFF_FFFF | JUMP_SLOT,
                    ..relocation
                })
            }
            _ => None,
        }
    }

    /// The gate of a function of the library's own; `None` where the address is none of its code.
    fn own_gate(&self, function: usize, bindings: &mut Bindings) -> Option<usize> {
        let guarded = self.guarded?;
        self.is_code(function).then(|| {
            let offset = function.wrapping_sub(self.map.addr);
            bindings.internal_gate(
                function,
                guarded,
                &format!("an entry of its own tables, at +{offset:#x}"),
            )
        })
    }

    /// Changes slots in the library's own tables whose relocation is packed: these hold the address as the file has it,
    /// and the loader will add where the object was put.
    fn gate_packed(&self, own_tables: &Tables, bindings: &mut Bindings) -> usize {
        if own_tables.is_empty() {
            return 0;
        }
        let mut gated = 0;
        for slot in self.dynamic.packed() {
            if !own_tables.contains(slot) {
                continue;
            }
            let place = core::ptr::with_exposed_provenance_mut::<usize>(slot);
            // SAFETY: a word that has a packed relocation, which is writable until it was applied.
            let value = unsafe { place.read() };
            let Some(gate) = self.own_gate(self.map.addr.wrapping_add(value), bindings) else {
                continue;
            };
            // SAFETY: as above; the loader adds the object's address to it.
            unsafe { place.write(gate.wrapping_sub(self.map.addr)) };
            gated += 1;
        }
        gated
    }
}
