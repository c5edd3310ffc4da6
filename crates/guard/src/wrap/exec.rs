//! `execve(2)` of the guarded process itself: what it executes in its own place is guarded as it was. A shell script that ends
//! with `exec`, as many launchers do, does not lead out of the guard.
//!
//! The two variables are handed on in the new program's environment, and only there. Children made by `fork(2)` or `vfork(2)`
//! have another process number and are left alone, unless `--inherit`; so are `posix_spawn(3)` and `system(3)`.
//!
//! A signal handler may call these functions, and so may the child of a `vfork(2)`: the new array comes from the kernel, not
//! from an allocator.
#![allow(
    unsafe_code,
    reason = "the program's arrays of strings, functions of its C library by address"
)]

use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::ffi::CString;

use crate::finish;
use crate::map;
use crate::real::Slot;
use crate::settings::{AUDIT_VARIABLE, VARIABLE};
use crate::wrap::Wrapper;

/// An array of strings, ended by null.
type Strings = *const *const c_char;

type Exec = unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int;

static EXECVE: Slot = Slot::new();
static EXECVPE: Slot = Slot::new();
static FEXECVE: Slot = Slot::new();
static EXECVEAT: Slot = Slot::new();
static SPAWN: Slot = Slot::new();
static SPAWNP: Slot = Slot::new();

/// The program's own environment: `environ`, by its address.
static ENVIRON: Slot = Slot::new();

/// What is handed on, `NAME=VALUE` each.
static VARIABLES: std::sync::OnceLock<Vec<CString>> = std::sync::OnceLock::new();

/// The descriptor by which the loader has found this library; -1 where that was otherwise. It is closed in what children execute,
/// and kept open where the loader has to find the library again.
static LIBRARY: AtomicI32 = AtomicI32::new(-1);

/// The number of the file behind it. The program may close the descriptor, and put something of its own there.
static LIBRARY_FILE: AtomicU64 = AtomicU64::new(0);

/// Whether children are guarded too, whatever environment they are given.
static INHERIT: AtomicBool = AtomicBool::new(false);

global_asm!(
    include_str!("variadic.s"),
    execl = sym execl,
    execlp = sym execvp,
    execle = sym execle,
);

unsafe extern "C" {
    fn pkeys_guard_execl();
    fn pkeys_guard_execlp();
    fn pkeys_guard_execle();
}

/// Notes the functions of the program's C library.
pub(crate) fn prepare(execve: usize, execvpe: usize, environ: usize) {
    EXECVE.note(execve);
    EXECVPE.note(execvpe);
    ENVIRON.note(environ);
}

/// Notes the variables as they were, and whether children get them.
pub(crate) fn keep(settings: &str, audit: &str, inherit: bool) {
    let variables = [(VARIABLE, settings), (AUDIT_VARIABLE, audit)];
    let variables = variables
        .iter()
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect();
    let _ = VARIABLES.set(variables);
    let descriptor = audit.rsplit_once("/fd/").map(|(_, number)| number.parse());
    if let Some(Ok(descriptor)) = descriptor {
        LIBRARY.store(descriptor, Relaxed);
        LIBRARY_FILE.store(file_number(descriptor).unwrap_or(0), Relaxed);
        close_on_exec(true);
    }
    INHERIT.store(inherit, Relaxed);
}

/// Has the library's descriptor closed by what is executed, or not.
fn close_on_exec(is_closed: bool) {
    let descriptor = LIBRARY.load(Relaxed);
    let flags = if is_closed { libc::FD_CLOEXEC } else { 0 };
    if file_number(descriptor) == Some(LIBRARY_FILE.load(Relaxed)) {
        // SAFETY: takes numbers.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags) };
    }
}

/// The number of the file behind a descriptor.
fn file_number(descriptor: c_int) -> Option<u64> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the buffer is a local variable.
    let result = unsafe { libc::fstat(descriptor, status.as_mut_ptr()) };
    // SAFETY: zeroed memory is a value, too.
    (result == 0).then(|| unsafe { status.assume_init() }.st_ino)
}

/// The wrapper of that name.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    let list = |name, function: unsafe extern "C" fn()| {
        Some(Wrapper::plain(name, function as *const (), None))
    };
    let (name, function, slot) = match name {
        "execl" => return list("execl", pkeys_guard_execl),
        "execlp" => return list("execlp", pkeys_guard_execlp),
        "execle" => return list("execle", pkeys_guard_execle),
        "execve" => ("execve", execve as *const (), None),
        "execvpe" => ("execvpe", execvpe as *const (), None),
        "execv" => ("execv", execv as *const (), None),
        "execvp" => ("execvp", execvp as *const (), None),
        "fexecve" => ("fexecve", fexecve as *const (), Some(&FEXECVE)),
        "execveat" => ("execveat", execveat as *const (), Some(&EXECVEAT)),
        "posix_spawn" => ("posix_spawn", spawn as *const (), Some(&SPAWN)),
        "posix_spawnp" => ("posix_spawnp", spawnp as *const (), Some(&SPAWNP)),
        _ => return None,
    };
    Some(Wrapper::plain(name, function, slot))
}

extern "C" fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    exec(&EXECVE, path, arguments, environment)
}

extern "C" fn execvpe(name: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    exec(&EXECVPE, name, arguments, environment)
}

extern "C" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    exec(&EXECVE, path, arguments, environ())
}

extern "C" fn execvp(name: *const c_char, arguments: Strings) -> c_int {
    exec(&EXECVPE, name, arguments, environ())
}

/// `execl(3)`, with its list as an array.
extern "C" fn execl(path: *const c_char, arguments: Strings) -> c_int {
    execv(path, arguments)
}

/// `execle(3)`, with its list as an array: the environment comes behind the null that ends the list.
extern "C" fn execle(path: *const c_char, arguments: Strings) -> c_int {
    let behind = arguments.wrapping_add(count(arguments) + 1);
    // SAFETY: the caller's next argument, as execle(3) demands one.
    let environment = unsafe { behind.cast::<Strings>().read() };
    exec(&EXECVE, path, arguments, environment)
}

extern "C" fn fexecve(file: c_int, arguments: Strings, environment: Strings) -> c_int {
    type FExec = unsafe extern "C" fn(c_int, Strings, Strings) -> c_int;
    // SAFETY: the address of the program's `fexecve`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, FExec>(FEXECVE.get()) };
    // SAFETY: the program's arguments, and an environment that `handed_on` vouches for.
    handed_on(environment, |environment| unsafe {
        real(file, arguments, environment)
    })
}

extern "C" fn execveat(
    folder: c_int,
    path: *const c_char,
    arguments: Strings,
    environment: Strings,
    flags: c_int,
) -> c_int {
    type ExecAt = unsafe extern "C" fn(c_int, *const c_char, Strings, Strings, c_int) -> c_int;
    // SAFETY: the address of the program's `execveat`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, ExecAt>(EXECVEAT.get()) };
    // SAFETY: the program's arguments, and an environment that `handed_on` vouches for.
    handed_on(environment, |environment| unsafe {
        real(folder, path, arguments, environment, flags)
    })
}

extern "C" fn spawn(
    child: *mut c_void,
    path: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    spawn_by(
        &SPAWN,
        [child.cast_const(), path.cast(), actions, attributes],
        arguments,
        environment,
    )
}

extern "C" fn spawnp(
    child: *mut c_void,
    name: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    arguments: Strings,
    environment: Strings,
) -> c_int {
    spawn_by(
        &SPAWNP,
        [child.cast_const(), name.cast(), actions, attributes],
        arguments,
        environment,
    )
}

/// A child that is made and executes in one call: guarded with `--inherit` only.
fn spawn_by(
    slot: &Slot,
    [child, path, actions, attributes]: [*const c_void; 4],
    arguments: Strings,
    environment: Strings,
) -> c_int {
    type Spawn = unsafe extern "C" fn(
        *const c_void,
        *const c_void,
        *const c_void,
        *const c_void,
        Strings,
        Strings,
    ) -> c_int;
    // SAFETY: the address of a function of the program's of this type, noted when its wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Spawn>(slot.get()) };
    // SAFETY: the program's arguments, and an environment that `with_variables` vouches for.
    let call =
        |environment| unsafe { real(child, path, actions, attributes, arguments, environment) };
    if INHERIT.load(Relaxed) {
        with_variables(environment, call)
    } else {
        call(environment)
    }
}

fn environ() -> Strings {
    let place = core::ptr::with_exposed_provenance::<Strings>(ENVIRON.get());
    // SAFETY: the address of `environ` in the main C library.
    unsafe { place.read() }
}

fn exec(slot: &Slot, path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: the address of `execve` or `execvpe` in the main C library.
    let real = unsafe { core::mem::transmute::<usize, Exec>(slot.get()) };
    // SAFETY: the program's arguments, and an environment that `handed_on` vouches for.
    handed_on(environment, |environment| unsafe {
        real(path, arguments, environment)
    })
}

/// Calls with an environment that guards what is executed, where that is to be.
fn handed_on(environment: Strings, call: impl FnOnce(Strings) -> c_int) -> c_int {
    // A child of `vfork(2)` has its parent's memory: what it would map is not mapped where it need not be.
    let is_child = !finish::is_guarded_process();
    let has_variables = || count(environment) == kept(environment).count() + 2;
    if !is_child {
        close_on_exec(false);
        let result = with_variables(environment, call);
        close_on_exec(true);
        result
    } else if INHERIT.load(Relaxed) && !has_variables() {
        with_variables(environment, call)
    } else {
        call(environment)
    }
}

/// Calls with an environment that has the variables in it, each once: strings that are the program's own or live for ever.
fn with_variables(environment: Strings, call: impl FnOnce(Strings) -> c_int) -> c_int {
    let added = VARIABLES.get().map_or(&[][..], Vec::as_slice);
    let len_bytes = (count(environment) + added.len() + 1) * size_of::<usize>();
    let Some(array) = map::anonymous(len_bytes) else {
        return call(environment);
    };
    let mut place = core::ptr::with_exposed_provenance_mut::<*const c_char>(array);
    let all = added
        .iter()
        .map(|variable| variable.as_ptr())
        .chain(kept(environment));
    for string in all {
        // SAFETY: within the array, which has room for all of them and a null, and is zeroed.
        unsafe { place.write(string) };
        place = place.wrapping_add(1);
    }
    let result = call(core::ptr::with_exposed_provenance(array));
    map::unmap(array, len_bytes);
    result
}

/// How many strings an array has.
fn count(strings: Strings) -> usize {
    all(strings).count()
}

/// The strings of an array; none where there is no array.
fn all(strings: Strings) -> impl Iterator<Item = *const c_char> {
    let mut at = strings;
    core::iter::from_fn(move || {
        if at.is_null() {
            return None;
        }
        // SAFETY: within the program's array, which a null ends.
        let string = unsafe { at.read() };
        at = at.wrapping_add(1);
        (!string.is_null()).then_some(string)
    })
}

/// The strings of an environment but for the two variables.
fn kept(environment: Strings) -> impl Iterator<Item = *const c_char> {
    all(environment).filter(|string| {
        // SAFETY: a string of the program's.
        let text = unsafe { CStr::from_ptr(*string) }.to_bytes();
        let name = text.split(|byte| *byte == b'=').next();
        ![Some(VARIABLE.as_bytes()), Some(AUDIT_VARIABLE.as_bytes())].contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(strings: Strings) -> Vec<String> {
        all(strings)
            .map(|string| {
                // SAFETY: a string of the test's.
                let text = unsafe { CStr::from_ptr(string) };
                text.to_str().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn the_variables_are_there_once() {
        keep("{}", "lib", false);
        let strings = [c"A=1", c"LD_AUDIT=other", c"PKEYS_GUARD=", c"LD_AUDIT_X=2"];
        let mut array: Vec<*const c_char> = strings.iter().map(|string| string.as_ptr()).collect();
        array.push(core::ptr::null());
        for (environment, expected) in [
            (
                array.as_ptr(),
                &["PKEYS_GUARD={}", "LD_AUDIT=lib", "A=1", "LD_AUDIT_X=2"][..],
            ),
            (core::ptr::null(), &["PKEYS_GUARD={}", "LD_AUDIT=lib"][..]),
        ] {
            let mut seen = Vec::new();
            let call = |environment| {
                seen = texts(environment);
                -1
            };
            assert_eq!(with_variables(environment, call), -1);
            assert_eq!(seen, expected);
        }
    }
}
