//! What may come in between two steps, and what it does.

use pkeys_core::{Knobs, Mode, Rights};
use pkeys_kernel::pks::{self, Context, Settings};

use super::system::THREE;
use super::world::World;

/// What comes in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An interrupt or an NMI, whose handler uses a key.
    Interrupt,
    /// A timer interrupt: another thread gets the CPU, and this one goes on elsewhere.
    Migrate,
    /// Another CPU turns the mode of shared pages off, or on again. Nobody was told.
    Turned,
    /// Everybody is told.
    Told,
}

impl Event {
    pub(crate) const ALL: [Self; 4] = [Self::Interrupt, Self::Migrate, Self::Turned, Self::Told];
}

/// A set of events, by their place in [`Event::ALL`].
pub(crate) type Events = u8;

/// When what comes in between: the number of the point, in order.
pub(crate) type Schedule = [(usize, Event)];

impl World<'_> {
    /// Something may come in between here.
    pub(crate) fn point(&self) {
        let number = self.nr_points.get();
        self.nr_points.set(number + 1);
        if number == self.next.get() {
            let event = self.schedule.borrow_mut().pop();
            self.expect_next();
            match event {
                None => {}
                Some((_, Event::Interrupt)) => self.interrupt(),
                Some((_, Event::Migrate)) => self.migrate(),
                Some((_, Event::Turned)) => self.turn(),
                Some((_, Event::Told)) => self.told(),
            }
        } else if self.next.get() == usize::MAX && self.is_recorded.get() {
            self.points.borrow_mut().push((number, self.possible()));
        }
    }

    pub(super) fn expect_next(&self) {
        let schedule = self.schedule.borrow();
        self.next
            .set(schedule.last().map_or(usize::MAX, |(at, _)| *at));
    }

    fn possible(&self) -> Events {
        let is_possible = |event: &Event| self.can_be(*event);
        let bit = |(place, event)| u8::from(is_possible(event)) << place;
        (0..).zip(&Event::ALL).map(bit).sum()
    }

    pub(super) fn can_be(&self, event: Event) -> bool {
        let is_let_in = self.lets_interrupts_in.get();
        match event {
            Event::Interrupt => true,
            Event::Migrate => is_let_in,
            Event::Turned => !self.has_turned.get(),
            Event::Told => is_let_in && self.before.get().is_some(),
        }
    }

    /// A handler with a context of its own: entry, body, exit.
    pub(super) fn handler(&self, body: impl FnOnce()) {
        let was_let_in = self.lets_interrupts_in.replace(false);
        let interrupted = self.cpu().current.get();
        pks::enter(self, self.arena.keep(Context::new()));
        self.check("a handler", &[], &[]);
        body();
        self.lets_interrupts_in.set(false);
        pks::leave(self, self.arena.get(interrupted));
        self.lets_interrupts_in.set(was_let_in);
    }

    fn interrupt(&self) {
        self.handler(|| {
            let granted = pks::grant(self, THREE, Rights::ReadOnly);
            self.check("a handler with a grant", &[THREE], &[]);
            pks::revoke(self, granted);
            self.check("a handler after its grant", &[], &[]);
        });
    }

    /// The other thread gets this CPU, while this thread, in its handler, gets the other one.
    fn migrate(&self) {
        self.handler(|| {
            let here = self.here.get();
            let own = self.arena.get(self.cpu().current.get());
            self.here.set(1 - here);
            let other = self.arena.get(self.cpu().current.get());
            self.here.set(here);
            pks::switch_to(self, other);
            self.here.set(1 - here);
            pks::switch_to(self, own);
            self.check("a handler that was moved", &[], &[]);
        });
    }

    fn turn(&self) {
        self.has_turned.set(true);
        self.before.set(Some(self.pks.closed().bits()));
        let settings = self.pks.settings();
        let shared = match settings.knobs.shared {
            Mode::Off => Mode::Silent,
            _ => Mode::Off,
        };
        let knobs = Knobs {
            shared,
            ..settings.knobs
        };
        let refresh = self.pks.set(Settings { knobs, ..settings });
        assert!(refresh.is_needed());
    }

    pub(super) fn told(&self) {
        // On the other CPU first, then here.
        let here = self.here.get();
        for cpu in [1 - here, here] {
            self.here.set(cpu);
            if cpu == here {
                self.before.set(None);
            }
            self.handler(|| pks::refresh(self));
        }
    }
}
