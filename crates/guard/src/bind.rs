//! Binding decisions: what a call of one object to a function of another is connected with.
//!
//! | from | to | gets |
//! |---|---|---|
//! | anyone | a guarded library | a gate, one for each function |
//! | the same domain | itself | the function |
//! | a guarded library | the allocator of C or C++ | the domain's allocator |
//! | anyone | `free`, `realloc`, .. | a wrapper that knows blocks of domains by their address |
//! | anyone | signals, threads, long jumps, things left for later | a wrapper ([`wrap`](crate::wrap)) |
//! | anything else | | the function |
//!
//! All state is behind one lock, which is taken with all signals blocked ([`quiet`]).

use core::sync::atomic::AtomicU64;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use crate::domain::Guarded;
use crate::gate::Routine;
use crate::gate::descriptor::{
    Counter, Descriptor, IS_INTERNAL, IS_REVERSE, IS_SHARED, MAX_ARGUMENT, Name, callback_bit,
};
use crate::gate::thunk::{Thunk, Thunks};
use crate::quiet::{self, Locked};
use crate::real::Real;
use crate::wrap::{self, Wrapper};

/// What a thunk was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    /// A gate to a function.
    Gate(usize),
    /// A gate back to a callback.
    Reverse(usize),
    /// A wrapper, for a domain (by index).
    Wrapper(usize, usize),
}

/// Everything that has been bound.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    thunks: Thunks,
    made: HashMap<Purpose, Thunk>,
    /// Whether calls are counted.
    pub(crate) counts: bool,
    /// Whether gates do without keys.
    pub(crate) is_bare: bool,
    /// How many gates were made so far.
    pub(crate) gates: usize,
    /// How many relocations were changed.
    pub(crate) rewritten: usize,
    pub(crate) real: Real,
    /// Made with `counts`: what is counted, in the order of making.
    pub(crate) counters: Vec<(&'static Name, &'static Counter)>,
}

static BINDINGS: LazyLock<Mutex<Bindings>> = LazyLock::new(Mutex::default);

/// Locks the bindings.
pub(crate) fn guard() -> Locked<Bindings> {
    quiet::lock(&BINDINGS)
}

/// A question of the loader's, about a call from one object to another of no domain or another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The function's name.
    pub(crate) name: &'a str,
    /// What it would be bound to.
    pub(crate) function: usize,
    /// The domain of the object that calls.
    pub(crate) from: Option<&'static Guarded>,
    /// The domain of the object that the function is in.
    pub(crate) to: Option<&'static Guarded>,
}

/// Where the call goes. Most questions are about functions that stay as they are, and need no lock.
pub(crate) fn answer(question: Question<'_>) -> usize {
    let Question {
        name,
        function,
        from,
        to,
    } = question;
    match to {
        Some(to) if to.is_ungated(name) => function,
        Some(to) => guard().gate(function, to, name),
        None => match wrap::find(name, from.is_some()) {
            Some(wrapper) => guard().wrap(wrapper, function, from),
            None => function,
        },
    }
}

impl Bindings {
    /// The gate of an exported function.
    fn gate(&mut self, function: usize, guarded: &'static Guarded, name: &str) -> usize {
        let mut flags = 0;
        if guarded.is_shared(name) {
            flags |= IS_SHARED;
        }
        let callbacks = guarded.callbacks(name);
        for &argument in callbacks
            .iter()
            .filter(|argument| **argument <= MAX_ARGUMENT)
        {
            flags |= callback_bit(argument);
        }
        let name = Name::of_function(name);
        self.entry(function, guarded, name, flags, Routine::Gate)
    }

    /// The gate of a function of the library's own that somebody else will call.
    pub(crate) fn internal_gate(
        &mut self,
        function: usize,
        guarded: &'static Guarded,
        what: &str,
    ) -> usize {
        let name = Name::of_internal(what);
        self.entry(function, guarded, name, IS_INTERNAL, Routine::Own)
    }

    fn entry(
        &mut self,
        function: usize,
        guarded: &'static Guarded,
        name: Name,
        flags: u64,
        routine: Routine,
    ) -> usize {
        let routine = if self.is_bare {
            Routine::without_keys()
        } else {
            routine
        };
        self.make(
            Purpose::Gate(function),
            function,
            routine,
            guarded,
            name,
            flags,
        )
    }

    /// The gate back to a function of the program.
    pub(crate) fn reverse_gate(&mut self, function: usize) -> usize {
        let purpose = Purpose::Reverse(function);
        if let Some(thunk) = self.made.get(&purpose) {
            return thunk.addr;
        }
        // A thunk of ours needs none.
        if self.made.values().any(|thunk| thunk.addr == function) {
            return function;
        }
        let name = Name::of_internal("a callback of the program");
        let flags = IS_INTERNAL | IS_REVERSE;
        let routine = if self.is_bare {
            Routine::Bare
        } else {
            Routine::Reverse
        };
        self.make(purpose, function, routine, core::ptr::null(), name, flags)
    }

    /// A wrapper in place of a function of a C library.
    fn wrap(&mut self, wrapper: Wrapper, function: usize, from: Option<&'static Guarded>) -> usize {
        self.real.note(wrapper.slot, function);
        let (routine, target) = match wrapper.kind {
            wrap::Kind::Plain => return wrapper.function,
            wrap::Kind::WithDomain => (Routine::WithDomain, wrapper.function),
            wrap::Kind::Longjmp => (Routine::Longjmp, function),
        };
        let (index, domain) = match from.filter(|_| wrapper.kind == wrap::Kind::WithDomain) {
            Some(guarded) => (guarded.index, core::ptr::from_ref(guarded)),
            None => (usize::MAX, core::ptr::null()),
        };
        let name = Name::of_internal(wrapper.name);
        let purpose = Purpose::Wrapper(target, index);
        self.make(purpose, target, routine, domain, name, IS_INTERNAL)
    }

    fn make(
        &mut self,
        purpose: Purpose,
        target: usize,
        routine: Routine,
        domain: *const Guarded,
        name: Name,
        flags: u64,
    ) -> usize {
        if let Some(thunk) = self.made.get(&purpose) {
            return thunk.addr;
        }
        let name: &'static Name = Box::leak(Box::new(name));
        let is_counted = self.counts && matches!(purpose, Purpose::Gate(_) | Purpose::Reverse(_));
        let has_callbacks = flags >> 8 != 0;
        // What is passed one after the other. A call of the library's own that needs no gate is not counted.
        let own = (routine == Routine::Own).then_some(Routine::Own);
        let counted = is_counted.then_some(Routine::Counted);
        let callbacks = has_callbacks.then_some(Routine::Callbacks);
        let last = if routine == Routine::Own {
            Routine::Gate
        } else {
            routine
        };
        let after_counted = callbacks.unwrap_or(last);
        let counter: Option<&'static Counter> = is_counted.then(|| {
            let counter = Counter {
                count: AtomicU64::new(0),
                next: after_counted.addr(),
            };
            &*Box::leak(Box::new(counter))
        });
        let descriptor = Descriptor {
            target,
            entry: own.or(counted).unwrap_or(after_counted).addr(),
            domain,
            flags,
            name,
            counter: counter.map_or(core::ptr::null(), core::ptr::from_ref),
            next: own.and(counted).unwrap_or(last).addr(),
        };
        let Some(thunk) = self.thunks.make(descriptor) else {
            crate::refuse::die("no memory for a gate");
        };
        self.gates += usize::from(matches!(purpose, Purpose::Gate(_)));
        if let Some(counter) = counter {
            self.counters.push((name, counter));
        }
        self.made.insert(purpose, thunk);
        thunk.addr
    }

    /// Forgets the gates to functions in a range of addresses whose library is being unloaded: another library may be put there. Their thunks
    /// stay, as somebody may still hold one.
    pub(crate) fn forget(&mut self, is_in: impl Fn(usize) -> bool) {
        self.made.retain(|purpose, _| match *purpose {
            Purpose::Gate(function) | Purpose::Reverse(function) => !is_in(function),
            Purpose::Wrapper(..) => true,
        });
    }
}
