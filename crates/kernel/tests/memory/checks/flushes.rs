//! After a call returns, no CPU can use rights that it took away, and none is disturbed without need.
//!
//! The machine's TLBs forget nothing by themselves, so that a flush that is left out is seen at the next access. The CPU
//! accesses here go straight to the CPU: no fault is put right.

use super::rig::*;

/// Two CPUs that both know the pages 0 to 2 of the arena as writable, key 0.
fn with_warm_tlbs(check: impl FnOnce(&Rig<'_>, u64)) {
    let machine = machine(2);
    let rig = Rig::new(&machine);
    let addr = rig.on(0).map_pages(0, 3, RW, PRIVATE);
    for number in 0..2 {
        for page in 0..3 {
            assert_eq!(rig.on(number).write(addr + page * PAGE, 5), Ok(()));
        }
    }
    check(&rig, addr);
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

/// Whether an access goes through on a CPU as things are.
fn can_read(rig: &Rig<'_>, number: u32, addr: u64) -> bool {
    rig.machine.cpu(number).user_read(addr).is_ok()
}

fn can_write(rig: &Rig<'_>, number: u32, addr: u64) -> bool {
    rig.machine.cpu(number).user_write(addr, 6).is_ok()
}

pub(crate) fn rights_that_are_taken_away_are_gone_on_every_cpu() {
    with_warm_tlbs(|rig, addr| {
        let user = rig.on(0);
        assert_eq!(user.mprotect(addr, PAGE, R), Ok(0));
        assert_eq!(user.mprotect(addr + PAGE, PAGE, NONE), Ok(0));
        let key = user.pkey_alloc(1);
        assert_eq!(user.pkey_mprotect(addr + 2 * PAGE, PAGE, RW, key), Ok(0));
        for number in 0..2 {
            assert!(can_read(rig, number, addr));
            assert!(!can_write(rig, number, addr), "on {number}");
            assert!(!can_read(rig, number, addr + PAGE), "on {number}");
            assert!(!can_read(rig, number, addr + 2 * PAGE), "on {number}");
        }
    });
}

pub(crate) fn rights_that_are_given_are_there_on_every_cpu() {
    with_warm_tlbs(|rig, addr| {
        let user = rig.on(0);
        let key = user.pkey_alloc(1);
        assert_eq!(user.pkey_mprotect(addr, PAGE, RW, key), Ok(0));
        for number in 0..2 {
            assert!(!can_read(rig, number, addr), "on {number}");
        }
        assert_eq!(user.pkey_mprotect(addr, PAGE, RWX, 0), Ok(0));
        for number in 0..2 {
            assert!(can_write(rig, number, addr), "on {number}");
            assert!(rig.machine.cpu(number).user_fetch(addr).is_ok());
        }
    });
}

pub(crate) fn what_is_unmapped_moved_or_dropped_is_out_of_reach() {
    let gone: [fn(&User<'_, '_>, u64); 4] = [
        |user, addr| assert_eq!(user.munmap(addr, 3 * PAGE), Ok(0)),
        |user, addr| assert_eq!(user.madvise(addr, 3 * PAGE, 4), Ok(0)),
        |user, addr| {
            let to = addr + 64 * PAGE;
            assert_eq!(user.mremap(addr, 3 * PAGE, 3 * PAGE, 3, to), Ok(to));
        },
        |user, addr| assert_eq!(user.mmap(addr, 3 * PAGE, RW, SHARED | FIXED), Ok(addr)),
    ];
    for take_away in gone {
        with_warm_tlbs(|rig, addr| {
            take_away(&rig.on(1), addr);
            for number in 0..2 {
                for page in 0..3 {
                    assert!(!can_read(rig, number, addr + page * PAGE), "on {number}");
                }
            }
        });
    }
}

pub(crate) fn neither_side_of_a_fork_writes_to_what_the_other_sees() {
    with_warm_tlbs(|rig, addr| {
        let child = rig.fork().unwrap();
        for number in 0..2 {
            assert!(!can_write(rig, number, addr), "on {number}");
        }
        // CPU 1 has the shared page in its TLB when CPU 0 gets a copy.
        assert!(can_read(rig, 1, addr));
        assert_eq!(rig.on(0).write(addr, 9), Ok(()));
        assert_eq!(rig.machine.cpu(1).user_read(addr), Ok(9));
        let mut seen = [0];
        assert_eq!(
            child.read_remote(&rig.machine.cpu(0), addr, &mut seen, false),
            Ok(())
        );
        assert_eq!(seen, [5]);
        drop(child);
    });
}

pub(crate) fn a_forced_write_reaches_every_cpu() {
    with_warm_tlbs(|rig, addr| {
        assert_eq!(rig.on(0).mprotect(addr, PAGE, R), Ok(0));
        let child = rig.fork().unwrap();
        assert!(can_read(rig, 1, addr));
        let written = rig
            .space
            .write_remote(&rig.machine.cpu(0), addr, &[8], true);
        assert_eq!(written, Ok(()));
        assert_eq!(rig.machine.cpu(1).user_read(addr), Ok(8));
        assert!(!can_write(rig, 1, addr));
        drop(child);
    });
}

pub(crate) fn only_cpus_that_run_the_space_are_disturbed() {
    let machine = machine(3);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 2, RW, PRIVATE);
    let before = || machine.cpus().map(|cpu| cpu.counters()).collect::<Vec<_>>();
    rig.space.deactivate(&machine.cpu(2));

    // Made present: nobody can have known it.
    let start = before();
    assert_eq!(user.write(addr, 1), Ok(()));
    assert_eq!(user.read(addr + PAGE), Ok(0));
    let now = before();
    for (earlier, later) in start.iter().zip(&now) {
        let done = *later - *earlier;
        assert_eq!(
            (done.invlpgs, done.shoot_downs_sent, done.root_loads),
            (0, 0, 0)
        );
    }

    // Taken away: CPU 1 has to know, and CPU 2 does not run it.
    assert_eq!(user.mprotect(addr, PAGE, NONE), Ok(0));
    let later = before();
    assert_eq!((later[0] - now[0]).shoot_downs_sent, 1);
    assert_eq!((later[1] - now[1]).shoot_downs_received, 1);
    assert_eq!((later[2] - now[2]).shoot_downs_received, 0);
    assert_eq!((later[0] - now[0]).invlpgs, 1, "one page, one INVLPG");

    // Nothing changes, or nothing was present: nobody has to know.
    let now = before();
    assert_eq!(user.mprotect(addr, PAGE, NONE), Ok(0));
    assert_eq!(user.mprotect(addr, PAGE, RW), Ok(0));
    let later = before();
    assert_eq!((later[0] - now[0]).shoot_downs_sent, 0);
    assert_eq!((later[0] - now[0]).invlpgs, 0);
    rig.end();
}

pub(crate) fn a_stale_entry_is_forgotten_by_the_fault_it_causes() {
    with_warm_tlbs(|rig, addr| {
        // CPU 1 runs something else while the page becomes read-only, and comes back with nothing in its TLB.
        let away = rig.machine.cpu(1);
        rig.space.deactivate(&away);
        assert_eq!(rig.on(0).mprotect(addr, PAGE, R), Ok(0));
        rig.space.activate(&away);
        assert!(can_read(rig, 1, addr));
        // Now it is told too little, as by a kernel that leaves widened rights to the next fault.
        rig.space.deactivate(&away);
        assert_eq!(rig.on(0).mprotect(addr, PAGE, RW), Ok(0));
        assert!(!can_write(rig, 1, addr), "its entry is stale");
        assert_eq!(rig.on(1).write(addr, 3), Ok(()));
        rig.space.activate(&away);
    });
}

pub(crate) fn a_space_that_a_cpu_still_runs_gives_nothing_back() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let addr = rig.on(0).map_pages(0, 1, RW, PRIVATE);
    assert_eq!(rig.on(0).write(addr, 4), Ok(()));
    let before = nr_frames(&machine);
    drop(rig);
    assert_eq!(nr_frames(&machine), before);
    assert_eq!(machine.cpu(0).user_read(addr), Ok(4));
}
