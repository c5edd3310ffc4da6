//! The kernel's supervisor keys: which there are, where they are used, and what is done about a stray access.
//!
//! The protocol is the library's ([`pkeys_kernel::pks`]); here it meets the hardware:
//!
//! | what | file |
//! |---|---|
//! | page tables and the other CPUs | [`host`] |
//! | memory that can be put behind a key | [`memory`] |
//! | a page fault of the kernel's, judged | [`fault`] |
//! | the trap behind an instruction that was let through | [`step`] |
//! | reports that are printed later | [`told`] |
//!
//! Registers are in [`crate::cpu::pkrs`]; the calls at exceptions and switches, in [`crate::trap`] and [`crate::sched`].

pub(crate) mod fault;
pub(crate) mod host;
pub(crate) mod memory;
pub(crate) mod step;
pub(crate) mod told;

use pkeys_kernel::pks::kmap::{HashedMarks, Kmap, SharedKeys};
use pkeys_kernel::pks::region::Regions;
use pkeys_kernel::pks::{
    Callbacks, Declaration, Declared, Interrupted, KeyFault, Pks, PksKey, Settings, refresh,
};

use crate::cpu::pkrs::ThisCpu;
use crate::smp::call;
use crate::sync::RawSpin;
use host::Tables;

/// The keys of what is always there. Those that cases use beside them are nobody's, and closed as well.
const DECLARED: Declared<3> = Declared::new([
    Declaration::new("dax"),
    Declaration::new("vault"),
    Declaration::shared("kmap"),
]);

/// The device that keeps what is written to it.
pub(crate) const DAX: PksKey = DECLARED.key("dax");
/// Secrets.
pub(crate) const VAULT: PksKey = DECLARED.key("vault");
/// Pages that are shared.
pub(crate) const SHARED: PksKey = DECLARED.key("kmap");

/// The functions that a key may have for its faults.
pub(crate) const CALLBACKS: Callbacks = Callbacks::new(&[("opens", opens)]);

/// Lets the context that faulted do what it likes with the key.
fn opens(_: &KeyFault, key: PksKey, interrupted: &Interrupted<'_>) -> bool {
    interrupted.open(key, pkeys_core::Rights::ReadWrite);
    true
}

/// All of it.
pub(crate) static PKS: Pks<RawSpin> = Pks::new(&DECLARED, CALLBACKS, Settings::DEFAULT);

/// The memory behind keys.
pub(crate) static REGIONS: Regions<'static, Tables, RawSpin> = Regions::new(PKS.keys(), Tables);

/// How many pages can be shared at a time.
const NR_SHARED: usize = 64;

/// Pages of it in other hands.
pub(crate) static KMAP: Kmap<'static, Tables, RawSpin, HashedMarks<NR_SHARED>> = Kmap::new(
    &REGIONS,
    SharedKeys {
        no_access: Some(SHARED),
        read_only: None,
    },
    HashedMarks::new(),
);

/// Takes the settings of the command line, before any CPU uses keys.
pub(crate) fn start(settings: Settings) {
    let _no_cpu_has_a_register_yet = PKS.set(settings);
    told::start();
}

/// Changes the settings while the system runs: when it returns, every CPU goes by them.
pub(crate) fn set(settings: Settings) {
    PKS.set(settings).on_every_cpu(refresh_all);
}

/// Has every CPU load its register.
pub(crate) fn refresh_all() {
    call::on_all(|_| refresh(&ThisCpu), [0; 3]);
}
