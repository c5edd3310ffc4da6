//! The loader's questions (`rtld-audit(7)`): the five functions that make this shared object an audit library.
//!
//! `la_version` comes first, before any object of the program is mapped; `la_objopen` for each object when it has been mapped and
//! not been relocated; `la_symbind64` for each binding; `la_preinit` when the libraries' constructors have run and the
//! program's have not; `la_objclose` when an object is unloaded. `la_pltenter` and `la_pltexit` are not there on purpose: a library that has them
//! gets every call by a slower path.
#![allow(unsafe_code, reason = "the loader's structures by pointer")]

use core::ffi::{CStr, c_char, c_long, c_uint};
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, Once, OnceLock};

use crate::bind::{self, Question};
use crate::caller;
use crate::domain::{self, Guarded};
use crate::elf::{Dynamic, LinkMap, Segments, Symbol};
use crate::gate::registers;
use crate::map::PAGE_BYTES;
use crate::names;
use crate::quiet::{self, Locked};
use crate::refuse::{not_guarded, say};
use crate::rewrite::Rewrite;
use crate::settings::Settings;
use crate::start;

/// `LA_FLG_BINDTO | LA_FLG_BINDFROM`: bindings from and to the object are asked for.
const BIND_BOTH: c_uint = 3;

/// The version of the interface that this is written for (glibc 2.35). A loader of an older one does not tell of bindings that are
/// made at once (`-z now`), and its calls would pass the gates by.
const VERSION: c_uint = 2;

/// What is kept of an object; the loader hands the pointer back.
#[derive(Debug)]
struct Object {
    /// Where it is.
    base: usize,
    guarded: Option<&'static Guarded>,
    segments: Segments,
    /// Whether it is in the program's own namespace.
    is_base: bool,
}

impl Object {
    /// The pages of its data that are its own as a whole: what is made read-only after relocation ends at a page, and so does
    /// what follows the last variable.
    fn data_pages(&self) -> impl Iterator<Item = Range<usize>> {
        let pages = |range: &Range<usize>| {
            range.start.next_multiple_of(PAGE_BYTES)..range.end.next_multiple_of(PAGE_BYTES)
        };
        let all = self.segments.data.iter();
        all.map(pages).filter(|range| !range.is_empty())
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The program's C library.
static LIBC: OnceLock<Dynamic> = OnceLock::new();

/// The program itself, the first object of its namespace.
static PROGRAM: OnceLock<Dynamic> = OnceLock::new();

/// Data of a library that goes behind the key when it has been relocated.
#[derive(Debug)]
pub(crate) struct Data {
    guarded: &'static Guarded,
    range: Range<usize>,
    /// Where the library is, which tells it from others of its domain.
    base: usize,
}

static DATA: Mutex<Vec<Data>> = Mutex::new(Vec::new());

/// Locks that list; also held across `fork(2)`.
pub(crate) fn data() -> Locked<Vec<Data>> {
    quiet::lock(&DATA)
}

/// `unsigned int la_version(unsigned int version);`
#[unsafe(no_mangle)]
extern "C" fn la_version(version: c_uint) -> c_uint {
    if version < VERSION {
        not_guarded(
            "this glibc is older than 2.35: its loader does not tell an audit library of every call",
        );
    }
    match start::begin() {
        Ok(settings) => {
            let _ = SETTINGS.set(settings);
            VERSION
        }
        Err(why) => not_guarded(&why),
    }
}

/// `unsigned int la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie);`
///
/// # Safety
///
/// 1. The loader calls it, with an object that it has mapped.
#[unsafe(no_mangle)]
unsafe extern "C" fn la_objopen(
    map: *const LinkMap,
    namespace: c_long,
    cookie: *mut usize,
) -> c_uint {
    // SAFETY: the loader's own structure (1).
    let map = unsafe { &*map };
    let path = map.path();
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_base = namespace == 0;
    let dynamic = map.dynamic();
    let soname = dynamic.soname();
    let guarded = domain::of_library(name).or_else(|| domain::of_library(soname.as_deref()?));
    let is_guarded = guarded.is_some() && is_base;
    if guarded.is_some() && !is_base {
        say(&format!(
            "{name} was loaded into a namespace of its own (dlmopen): it is not guarded there"
        ));
    }
    let is_servant = is_base && caller::is_servant(name);
    let object = Box::leak(Box::new(Object {
        base: map.addr,
        guarded: guarded.filter(|_| is_guarded),
        segments: if is_guarded || is_servant {
            Segments::of(map)
        } else {
            Segments::default()
        },
        is_base,
    }));
    // SAFETY: the loader's variable for this object (1).
    unsafe { cookie.write(core::ptr::from_ref(object).expose_provenance()) };
    if is_servant {
        for code in &object.segments.code {
            // Without a place left a fault in it counts as a stray.
            caller::SERVANTS.add(code.start, code.end);
        }
    }
    // The loader itself and the kernel's object have nothing to bind.
    if !is_base || name.starts_with("ld-linux") || name.starts_with("linux-vdso") {
        return 0;
    }
    let _ = PROGRAM.set(dynamic);
    let is_libc = name.starts_with("libc.so");
    if is_libc {
        let _ = LIBC.set(dynamic);
    }
    if let Some(guarded) = object.guarded {
        open_guarded(name, guarded, &dynamic, object);
    }
    let mut bindings = bind::guard();
    let rewrite = Rewrite {
        map,
        dynamic: &dynamic,
        guarded: object.guarded,
        segments: &object.segments,
        is_libc,
    };
    match rewrite.apply(&mut bindings) {
        Some(count) => bindings.rewritten += count,
        None => say(&format!(
            "{path}: its relocations cannot be changed; some calls will pass the gates by"
        )),
    }
    BIND_BOTH
}

/// A guarded library has come.
fn open_guarded(name: &str, guarded: &'static Guarded, dynamic: &Dynamic, object: &Object) {
    if let Err(why) = names::check(guarded, dynamic) {
        not_guarded(&format!("{name}: {why}"));
    }
    guarded.is_loaded.store(true, Relaxed);
    for code in &object.segments.code {
        if !guarded.code.add(code.start, code.end) {
            not_guarded(&format!("{name}: too many segments of code"));
        }
    }
    if SETTINGS.get().is_some_and(|settings| settings.data) {
        data().extend(object.data_pages().map(|range| Data {
            guarded,
            range,
            base: object.base,
        }));
    }
}

/// Puts data behind its key, of the library that is at that address, or of all. The loader relocates a library before those that
/// need it, so that the first binding from elsewhere tells that it has.
fn adopt_data(base: Option<usize>) {
    let mut data = data();
    data.retain(|waiting| {
        let Some(domain) = waiting.guarded.domain.get() else {
            return true;
        };
        if base.is_some_and(|base| base != waiting.base) {
            return true;
        }
        let (start, len_bytes) = (waiting.range.start, waiting.range.len());
        let _lock = domain::adopting();
        // SAFETY: pages of the library's own data segment, private and writable (1); its code uses them inside gates (2);
        // `la_objclose` gives them back (3).
        let adopted = unsafe { domain.adopt(start, len_bytes, "data of the library") };
        if adopted.is_err() {
            say("a library's data could not be put behind its key");
        }
        false
    });
}

/// `unsigned int la_objclose(uintptr_t *cookie);`
///
/// # Safety
///
/// 1. The loader calls it, with the cookie of an object that was opened.
#[unsafe(no_mangle)]
unsafe extern "C" fn la_objclose(cookie: *const usize) -> c_uint {
    // SAFETY: the loader's variable for this object (1).
    let object = unsafe { cookie.read() };
    let Some(object) = object_of(object) else {
        return 0;
    };
    for code in &object.segments.code {
        caller::SERVANTS.remove(code.start);
    }
    let Some(guarded) = object.guarded else {
        return 0;
    };
    for code in &object.segments.code {
        guarded.code.remove(code.start);
        bind::guard().forget(|function| code.contains(&function));
    }
    if let Some(domain) = guarded.domain.get()
        && SETTINGS.get().is_some_and(|settings| settings.data)
    {
        let mut waiting = data();
        let _lock = domain::adopting();
        for range in object.data_pages() {
            let count = waiting.len();
            waiting.retain(|waiting| waiting.range != range);
            if waiting.len() == count {
                let _ = domain.give_back(range.start, range.len());
            }
        }
    }
    0
}

/// `uintptr_t la_symbind64(Elf64_Sym *sym, unsigned int ndx, uintptr_t *refcook, uintptr_t *defcook, unsigned int *flags,
/// const char *symname);`
///
/// # Safety
///
/// 1. The loader calls it, with a symbol and the cookies of objects that were opened.
#[unsafe(no_mangle)]
unsafe extern "C" fn la_symbind64(
    symbol: *const Symbol,
    _index: c_uint,
    from: *const usize,
    to: *const usize,
    _flags: *mut c_uint,
    name: *const c_char,
) -> usize {
    // SAFETY: the loader's own structure (1). Its value is the address to be bound.
    let symbol = unsafe { symbol.read() };
    if !symbol.is_function() {
        return symbol.value;
    }
    // SAFETY: the cookies of the two objects (1).
    let [from, to] = [from, to].map(|cookie| object_of(unsafe { cookie.read() }));
    let (Some(from), Some(to)) = (from, to) else {
        return symbol.value;
    };
    if !from.is_base || !to.is_base {
        return symbol.value;
    }
    // A library that exports what it uses itself asks a thousand times.
    if let (Some(from), Some(to)) = (from.guarded, to.guarded)
        && from.index == to.index
    {
        return symbol.value;
    }
    // SAFETY: the loader's string (1).
    let Ok(name) = unsafe { CStr::from_ptr(name) }.to_str() else {
        return symbol.value;
    };
    if to.guarded.is_some() && from.guarded.is_none() {
        adopt_data(Some(to.base));
    }
    bind::answer(Question {
        name,
        function: symbol.value,
        from: from.guarded,
        to: to.guarded,
    })
}

/// `void la_preinit(uintptr_t *cookie);`
#[unsafe(no_mangle)]
extern "C" fn la_preinit(_cookie: *mut usize) {
    come_up();
    // Another thread may have passed the first gate: this one's register is as the kernel starts it then.
    registers::close_all();
    adopt_data(None);
}

/// Brings up what needs the program's C library, once: from `la_preinit`, or from the first gate, which a constructor of a
/// guarded library passes before (glibc calls `la_preinit` when the libraries' constructors have run and the program's have not).
pub(crate) fn come_up() {
    static IS_UP: Once = Once::new();
    IS_UP.call_once(|| {
        // Unit tests pass gates without a loader that has asked for the version.
        let Some(settings) = SETTINGS.get() else {
            return;
        };
        if let Err(why) = start::finish(settings, PROGRAM.get(), LIBC.get()) {
            not_guarded(&why);
        }
    });
}

fn object_of(cookie: usize) -> Option<&'static Object> {
    let object = core::ptr::with_exposed_provenance::<Object>(cookie);
    // SAFETY: null, or an object that `la_objopen` has leaked. The loader starts a cookie with its link map's address, and asks
    // about an object only after it was opened.
    unsafe { object.as_ref() }
}
