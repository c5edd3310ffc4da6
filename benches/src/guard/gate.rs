//! One gated call, measured from within a guarded program: this one, started again with [`INSIDE`] under `pkeys guard`.
//!
//! The function is `sqlite3_libversion_number`, which returns a constant, found as any program finds one (`dlsym(3)`). The call is
//! not subtracted: what is measured is all of it, the call, the thunk, the gate and the function, against the four
//! instructions that the gate consists of, in the same process and in turn.
#![allow(unsafe_code, reason = "a function by address, WRPKRU")]

use core::ffi::c_int;
use core::hint::black_box;
use std::process::ExitCode;

use pkeys_arch::Pku;

use crate::guard::{Found, LIBRARY, Program};
use crate::sample::{Effort, Spread, compare, pin_to_one_cpu};

/// The first argument of this program where it is guarded.
pub(crate) const INSIDE: &str = "--inside-guard";

/// The function's name, for the loader.
const FUNCTION: &core::ffi::CStr = c"sqlite3_libversion_number";

/// The word for a run that only shows that it runs.
const SMOKE: &str = "--smoke";

/// What the inner program prints: the ratio, and cycles of the call and of the instructions.
type Measured = (Spread, (Spread, Spread));

/// Starts this program guarded, and takes what it measured.
pub(super) fn measure(found: &Found, effort: Effort) -> Measured {
    let own = std::env::current_exe().expect("this program");
    let mut words = vec![own.into_os_string(), INSIDE.into()];
    words.extend((effort == Effort::Smoke).then(|| SMOKE.into()));
    let program = Program::new(words).guarded(&found.pkeys, &["--require", "--lib", LIBRARY]);
    serde_json::from_slice(&program.run().printed).expect("what was measured")
}

/// The guarded side.
pub(crate) fn inside(arguments: &[String]) -> ExitCode {
    let is_smoke = arguments.iter().any(|word| word == SMOKE);
    let effort = if is_smoke {
        Effort::Smoke
    } else {
        Effort::Full
    };
    pin_to_one_cpu();
    let Some(measured) = compare_call(effort) else {
        eprintln!("bars: {LIBRARY} has no function that is known");
        return ExitCode::FAILURE;
    };
    match serde_json::to_string(&measured) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("bars: {error}"),
    }
    ExitCode::SUCCESS
}

fn compare_call(effort: Effort) -> Option<Measured> {
    let name = std::ffi::CString::new(LIBRARY).ok()?;
    // SAFETY: a string; the library's constructors do nothing to this program.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    // SAFETY: null, or a library that stays open; a string.
    let function = unsafe { libc::dlsym(library, FUNCTION.as_ptr()) };
    if library.is_null() || function.is_null() {
        return None;
    }
    // SAFETY: `int sqlite3_libversion_number(void)`.
    let function =
        unsafe { core::mem::transmute::<*mut libc::c_void, extern "C" fn() -> c_int>(function) };
    let (pku, _) = Pku::probe().ok()?;
    let now = pku.read();
    let mut gated = |iterations| {
        for _ in 0..iterations {
            black_box(function());
        }
    };
    let mut bare = |iterations| {
        for _ in 0..iterations {
            for _ in 0..2 {
                black_box(pku.read());
                // SAFETY: the value that the register has.
                unsafe { pku.write(black_box(now)) };
            }
        }
    };
    let rounds = compare(
        effort.rounds(201),
        effort.iterations(2_000),
        &mut [&mut gated, &mut bare],
    );
    Some((rounds.ratio(0, 1), (rounds.cycles(0), rounds.cycles(1))))
}
