//! Every schedule of up to three events.

use pkeys_kernel::pks::{Pks, Settings};

use super::events::{Event, Events};
use super::system::Lock;
use super::world::World;

/// The most events in one schedule.
const MAX_EVENTS: usize = 3;

/// The most in one that has others than interrupts, in most scenes: in a debug build fewer, so that it ends in seconds.
pub(crate) const MOST: usize = if cfg!(debug_assertions) {
    2
} else {
    MAX_EVENTS
};
/// The same, whatever the build.
pub(crate) const ALL: usize = MAX_EVENTS;

/// How many schedules there were, by the number of events.
type Played = [u64; MAX_EVENTS + 1];

/// Plays a scene under every schedule: first undisturbed, then with one event at each point at which it can come, then with
/// a second one at each point after that, those inside the first one's handler included, and so on.
///
/// `max_mixed` is the most events in a schedule that has others than interrupts.
///
/// # Panics
///
/// At the first schedule under which something is wrong.
pub(crate) fn every_schedule(
    name: &str,
    max_mixed: usize,
    pks: &Pks<Lock>,
    scene: impl Fn(&World<'_>),
) {
    let mut explorer = Explorer {
        settings: pks.settings(),
        max_mixed,
        pks,
        world: World::new(pks),
        scene,
        schedule: Vec::new(),
        nr_played: Played::default(),
    };
    let result = explorer.explore();
    let _ = pks.set(explorer.settings);
    if let Err(failure) = result {
        panic!("{name}: with {:?}: {failure}", explorer.schedule);
    }
    let total: u64 = explorer.nr_played.iter().sum();
    println!(
        "{name}: {total} schedules, by the number of events: {:?}",
        explorer.nr_played
    );
    assert!(total > 20_000, "{name} has hardly any steps");
}

struct Explorer<'w, S> {
    settings: Settings,
    max_mixed: usize,
    pks: &'w Pks<Lock>,
    world: World<'w>,
    scene: S,
    schedule: Vec<(usize, Event)>,
    nr_played: Played,
}

impl<S: Fn(&World<'_>)> Explorer<'_, S> {
    fn explore(&mut self) -> Result<(), String> {
        let len = self.schedule.len();
        let points = self.play(len < MAX_EVENTS)?;
        self.nr_played[len] += 1;
        let is_mixed = self.schedule.iter().any(is_other);
        for (at, events) in points {
            for (place, event) in (0..).zip(Event::ALL) {
                let is_one_more_mixed = is_mixed || event != Event::Interrupt;
                let is_allowed = !is_one_more_mixed || len < self.max_mixed;
                if is_allowed && has(events, place) {
                    self.schedule.push((at, event));
                    self.explore()?;
                    self.schedule.pop();
                }
            }
        }
        Ok(())
    }

    fn play(&mut self, is_recorded: bool) -> Result<Vec<(usize, Events)>, String> {
        let _ = self.pks.set(self.settings);
        self.world.start(&self.schedule, is_recorded);
        (self.scene)(&self.world);
        let (points, failure) = self.world.end();
        failure.map_or(Ok(points), Err)
    }
}

fn is_other((_, event): &(usize, Event)) -> bool {
    *event != Event::Interrupt
}

fn has(events: Events, place: u32) -> bool {
    events >> place & 1 != 0
}
