//! What the scenes have in common: keys, settings, and what is said of registers, faults and frames.

use pkeys_core::{Access, KeyRegister, Knobs, Mode, PageFaultErrorCode, Pardon, Rights};
use pkeys_kernel::pks::{
    Callbacks, Declaration, Declared, Interrupted, KeyFault, Pks, PksKey, Settings, StepFrame,
};

pub(crate) type Lock = spin::mutex::Mutex<()>;

/// The keys of the tests. Closed, each has both of its bits set.
pub(crate) const DECLARED: Declared<4> = Declared::new([
    Declaration::new("one"),
    Declaration::new("two"),
    Declaration::new("three"),
    Declaration::shared("shared"),
]);
/// The watched thread's key.
pub(crate) const ONE: PksKey = DECLARED.key("one");
/// The key of whoever else runs.
pub(crate) const TWO: PksKey = DECLARED.key("two");
/// What handlers use.
pub(crate) const THREE: PksKey = DECLARED.key("three");
/// The key of shared pages.
pub(crate) const SHARED: PksKey = DECLARED.key("shared");

/// Everything closed.
pub(crate) const CLOSED: u32 = 0xFFFF_FFFC;

/// A register: the closed one, and these keys for reading, and these for writing.
pub(crate) fn register(closed: u32, reads: &[PksKey], writes: &[PksKey]) -> KeyRegister {
    let bits = |keys: &[PksKey], each: u32| {
        let shift = |key: &PksKey| each << (2 * u32::from(key.pkey().get()));
        keys.iter().map(shift).fold(0, |bits, bit| bits | bit)
    };
    KeyRegister::from_bits(closed & !bits(reads, 1) & !bits(writes, 3))
}

/// The function of key 1 in some scenes: it lets the context in.
const LETS_IN: &str = "lets in";

fn lets_in(_: &KeyFault, key: PksKey, interrupted: &Interrupted<'_>) -> bool {
    interrupted.open(key, Rights::ReadWrite);
    true
}

const CALLBACKS: Callbacks = Callbacks::new(&[(LETS_IN, lets_in)]);

/// Silent for pages that are not shared, off for those that are, and pardons for the context.
pub(crate) const SHARED_OFF: Settings = Settings {
    knobs: Knobs {
        stray: Mode::Silent,
        shared: Mode::Off,
    },
    pardon: Pardon::Context,
};

/// Silent for all pages, and pardons of some kind.
pub(crate) fn silent(pardon: Pardon) -> Settings {
    let knobs = Knobs {
        stray: Mode::Silent,
        shared: Mode::Silent,
    };
    Settings { knobs, pardon }
}

/// The system of keys that a scene has.
pub(crate) fn system(settings: Settings, has_callback: bool) -> Pks<Lock> {
    let pks = Pks::new(&DECLARED, CALLBACKS, settings);
    if has_callback {
        let callback = CALLBACKS.id(LETS_IN);
        pks.keys().set_callback(ONE, Some(callback)).unwrap();
    }
    pks
}

/// The error code of a key fault in the kernel.
pub(crate) fn key_fault(access: Access) -> PageFaultErrorCode {
    let write = match access {
        Access::Write => PageFaultErrorCode::W,
        _ => 0,
    };
    PageFaultErrorCode::from_bits(PageFaultErrorCode::P | PageFaultErrorCode::PK | write)
}

/// What the watched code has in RFLAGS and where it is: enough of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
}

pub(crate) const TF: u64 = 1 << 8;
pub(crate) const IF: u64 = 1 << 9;

impl StepFrame for Frame {
    fn rip(&self) -> u64 {
        self.rip
    }
    fn rsp(&self) -> u64 {
        0
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, rflags: u64) {
        self.rflags = rflags;
    }
}
