//! A CPU that runs one context, for checks in which nothing comes in between.

use core::cell::Cell;

use pkeys_core::{KeyRegister, Rights};
use pkeys_kernel::pks::{self, Context, PksCpu, PksKey};

/// One CPU and one context.
#[derive(Debug)]
pub(crate) struct Bare<'c> {
    context: &'c Context,
    closed: KeyRegister,
    cache: Cell<u64>,
}

impl<'c> Bare<'c> {
    pub(crate) fn new(context: &'c Context, closed: KeyRegister) -> Self {
        let bare = Self {
            context,
            closed,
            cache: Cell::new(pks::INVALID),
        };
        pks::start_cpu(&bare, context);
        bare
    }
}

/// A context with a grant that never ends.
pub(crate) fn with_grant(key: PksKey, rights: Rights) -> Context {
    let context = Context::new();
    let bare = Bare::new(&context, KeyRegister::from_bits(0xFFFF_FFFC));
    let _ = pks::grant(&bare, key, rights);
    context
}

impl PksCpu for Bare<'_> {
    fn write_pkrs(&self, _: KeyRegister) {}
    fn cached(&self) -> u64 {
        self.cache.get()
    }
    fn set_cached(&self, value: u64) {
        self.cache.set(value);
    }
    fn enable(&self) {}
    fn closed(&self) -> KeyRegister {
        self.closed
    }
    fn current(&self) -> &Context {
        self.context
    }
    fn set_current(&self, context: &Context) {
        assert!(core::ptr::eq(context, self.context), "there is one context");
    }
}
