//! `execve(2)` of the guarded process itself: what it executes in its own place is guarded as it was. A shell script that ends
//! with `exec`, as many launchers do, does not lead out of the guard.
//!
//! The two variables are handed on in the new program's environment, and only there. Children made by `fork(2)` or `vfork(2)`
//! have another process number and are left alone, unless `--inherit`; so are `posix_spawn(3)` and `system(3)`.
#![allow(
    unsafe_code,
    reason = "the program's arrays of strings, functions of its C library by address"
)]

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;

use crate::finish;
use crate::real::Slot;
use crate::settings::{AUDIT_VARIABLE, VARIABLE};
use crate::wrap::{Kind, Wrapper};

/// An array of strings, ended by null.
type Strings = *const *const c_char;

type Exec = unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int;

static EXECVE: Slot = Slot::new();
static EXECVPE: Slot = Slot::new();

/// The program's own environment: `environ`, by its address.
static ENVIRON: Slot = Slot::new();

/// What is handed on, `NAME=VALUE` each.
static VARIABLES: std::sync::OnceLock<Vec<CString>> = std::sync::OnceLock::new();

/// Notes what is handed on, and the functions of the program's C library.
pub(crate) fn prepare(execve: usize, execvpe: usize, environ: usize) {
    EXECVE.note(execve);
    EXECVPE.note(execvpe);
    ENVIRON.note(environ);
}

/// Notes the variables as they were.
pub(crate) fn keep(settings: &str, audit: &str) {
    let variables = [(VARIABLE, settings), (AUDIT_VARIABLE, audit)];
    let variables = variables
        .iter()
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect();
    let _ = VARIABLES.set(variables);
}

/// The wrapper of that name.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    let (name, function) = match name {
        "execve" => ("execve", execve as *const ()),
        "execvpe" => ("execvpe", execvpe as *const ()),
        "execv" => ("execv", execv as *const ()),
        "execvp" => ("execvp", execvp as *const ()),
        _ => return None,
    };
    Some(Wrapper {
        name,
        kind: Kind::Plain,
        function: function as usize,
        slot: None,
    })
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

fn environ() -> Strings {
    let place = core::ptr::with_exposed_provenance::<Strings>(ENVIRON.get());
    // SAFETY: the address of `environ` in the main C library.
    unsafe { place.read() }
}

fn exec(slot: &Slot, path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    // SAFETY: the address of `execve` or `execvpe` in the main C library.
    let real = unsafe { core::mem::transmute::<usize, Exec>(slot.get()) };
    let added = VARIABLES.get().map_or(&[][..], Vec::as_slice);
    if !finish::is_guarded_process() || added.is_empty() {
        // SAFETY: the program's arguments.
        return unsafe { real(path, arguments, environment) };
    }
    let environment = with(environment, added);
    // SAFETY: the program's arguments, and an environment of strings that are its own or live for ever.
    unsafe { real(path, arguments, environment.as_ptr()) }
}

/// An environment with the variables in it, each once.
fn with(environment: Strings, added: &[CString]) -> Vec<*const c_char> {
    let mut all: Vec<*const c_char> = added.iter().map(|variable| variable.as_ptr()).collect();
    let mut at = environment;
    while !at.is_null() {
        // SAFETY: within the program's array, which a null ends.
        let string = unsafe { at.read() };
        if string.is_null() {
            break;
        }
        // SAFETY: a string of the program's.
        let name = unsafe { CStr::from_ptr(string) }
            .to_bytes()
            .split(|byte| *byte == b'=')
            .next();
        if ![Some(VARIABLE.as_bytes()), Some(AUDIT_VARIABLE.as_bytes())].contains(&name) {
            all.push(string);
        }
        at = at.wrapping_add(1);
    }
    all.push(core::ptr::null());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_are_there_once() {
        let strings = [c"A=1", c"LD_AUDIT=other", c"PKEYS_GUARD=", c"LD_AUDIT_X=2"];
        let mut array: Vec<*const c_char> = strings.iter().map(|string| string.as_ptr()).collect();
        array.push(core::ptr::null());
        let added = [c"PKEYS_GUARD={}".to_owned(), c"LD_AUDIT=lib".to_owned()];
        for (environment, expected) in [
            (
                array.as_ptr(),
                &["PKEYS_GUARD={}", "LD_AUDIT=lib", "A=1", "LD_AUDIT_X=2"][..],
            ),
            (core::ptr::null(), &["PKEYS_GUARD={}", "LD_AUDIT=lib"][..]),
        ] {
            let all = with(environment, &added);
            assert!(all.last().unwrap().is_null());
            let text = |string: &*const c_char| {
                // SAFETY: a string of the test's.
                unsafe { CStr::from_ptr(*string) }.to_str().unwrap()
            };
            let all: Vec<&str> = all[..all.len() - 1].iter().map(text).collect();
            assert_eq!(all, expected);
        }
    }
}
