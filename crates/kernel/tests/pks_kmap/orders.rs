//! Every order of kmap, `kmap_local_page` and their ends, over several threads and CPUs.
//!
//! Two ways. *Every series* of so many steps is played from the beginning: no assumption, but series are short. And *every
//! step from every state*: a state is what is mapped by whom and where threads run; each is reached once, by the shortest
//! way, and from there every step is tried. That has series of any length, if what the kernel does next depends on nothing
//! but the state. After each step all pages are tried on all CPUs, and compared with the model.

use std::collections::BTreeSet;

use pkeys_core::Rights::{self, ReadOnly, ReadWrite};

use crate::rig::Broken;
use crate::scene::{Scene, State, Step};

/// What a scene is played with.
#[derive(Debug, Clone, Copy)]
struct Play<'a> {
    pages: &'a [usize],
    rights: &'a [Rights],
}

/// Plays steps from the beginning.
fn replay(scene: &mut Scene, series: &[Step]) -> Result<(), String> {
    scene.clear();
    for step in series {
        scene.step(*step);
    }
    let findings = scene.findings();
    if findings.is_empty() {
        Ok(())
    } else {
        Err(format!("{series:?}: {findings:?}"))
    }
}

/// Every series of `length` steps. Gives how many there are, or what was found.
fn every_series(scene: &mut Scene, play: Play<'_>, length: usize) -> Result<usize, String> {
    let mut nr = 0;
    let mut series: Vec<Step> = Vec::new();
    // At each depth, the steps that are still to be tried.
    let mut left = vec![scene.next(play.pages, play.rights)];
    while let Some(steps) = left.last_mut() {
        let Some(step) = steps.pop() else {
            left.pop();
            series.pop();
            continue;
        };
        series.push(step);
        replay(scene, &series)?;
        if series.len() < length {
            left.push(scene.next(play.pages, play.rights));
        } else {
            nr += 1;
            series.pop();
        }
    }
    replay(scene, &[])?;
    Ok(nr)
}

/// Every step from every state that has room. Gives how many states and steps there are, or what was found.
fn every_state(
    scene: &mut Scene,
    play: Play<'_>,
    has_room: impl Fn(&State) -> bool,
) -> Result<(usize, usize), String> {
    let mut nr_steps = 0;
    let mut known = BTreeSet::from([scene.state()]);
    let mut ways: Vec<Vec<Step>> = vec![Vec::new()];
    let mut at = 0;
    while let Some(way) = ways.get(at).cloned() {
        at += 1;
        replay(scene, &way)?;
        for step in scene.next(play.pages, play.rights) {
            let mut series = way.clone();
            series.push(step);
            replay(scene, &series)?;
            nr_steps += 1;
            let state = scene.state();
            if has_room(&state) && known.insert(state) {
                ways.push(series);
            }
        }
    }
    Ok((known.len(), nr_steps))
}

/// No more than so many shared mappings of a page, and local ones of a thread.
fn at_most(shared: usize, local: usize) -> impl Fn(&State) -> bool {
    move |state| {
        state.nr_shared.iter().all(|nr| *nr <= shared)
            && state.local.iter().all(|held| held.len() <= local)
    }
}

const ONE_PAGE: Play<'_> = Play {
    pages: &[0],
    rights: &[ReadOnly, ReadWrite],
};

#[test]
fn every_series_of_five_steps_of_two_threads_on_two_cpus() {
    let nr = every_series(&mut Scene::new(2, 2), ONE_PAGE, 5).unwrap();
    println!("{nr} series");
    assert!(nr > 20_000, "{nr}");
}

#[test]
fn every_series_of_three_steps_of_three_threads_and_four_pages_on_two_cpus() {
    let play = Play {
        pages: &[0, 1, 2, 3],
        rights: &[ReadOnly, ReadWrite],
    };
    let nr = every_series(&mut Scene::new(2, 3), play, 3).unwrap();
    println!("{nr} series");
    assert!(nr > 10_000, "{nr}");
}

#[test]
fn every_step_of_three_threads_on_two_cpus_from_every_state_of_one_page() {
    let nr = every_state(&mut Scene::new(2, 3), ONE_PAGE, at_most(2, 1)).unwrap();
    println!("{nr:?} states and steps");
    assert!(nr.0 > 400 && nr.1 > 2_000, "{nr:?}");
}

#[test]
fn every_step_of_two_threads_from_every_state_of_two_pages_of_one_key_and_one_of_another() {
    let play = Play {
        pages: &[0, 1, 2],
        rights: &[ReadWrite],
    };
    let nr = every_state(&mut Scene::new(2, 2), play, at_most(1, 2)).unwrap();
    println!("{nr:?} states and steps");
    assert!(nr.0 > 700 && nr.1 > 5_000, "{nr:?}");
}

/// What is found with something broken, within three steps.
fn found_with(broken: Option<Broken>, counts_to_one: bool) -> Option<String> {
    let mut scene = Scene::broken(2, 2, broken, counts_to_one);
    every_series(&mut scene, ONE_PAGE, 3).err()
}

#[test]
fn each_broken_kernel_is_noticed() {
    assert_eq!(found_with(None, false), None);
    for broken in [
        Broken::NoShootDown,
        Broken::OnlyThisCpuFlushes,
        Broken::NoRefresh,
        Broken::SharingUnknown,
    ] {
        let found = found_with(Some(broken), false);
        println!("{broken:?}: {found:?}");
        assert!(found.is_some(), "nobody notices {broken:?}");
    }
    let found = found_with(None, true);
    println!("counts to one: {found:?}");
    assert!(
        found.is_some(),
        "nobody notices that mappings are not counted"
    );
}
