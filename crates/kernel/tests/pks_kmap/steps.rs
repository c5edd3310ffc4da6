//! Another CPU shares the page, or stops sharing it, at each step of a local mapping being made or ended.

use core::cell::RefCell;
use std::rc::Rc;

use pkeys_core::{Access, KeyRegister, Rights, x86};
use pkeys_kernel::pks::kmap::SharedPage;

use crate::rig::{Kernel, LEDGER, Lock, Rig, SHARED, page};
use crate::scene::{Scene, Step, TestMarks};

const PAGE: usize = 0;

/// What CPU 1 does in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// kmap.
    Shares,
    /// kunmap of the one shared mapping that there is.
    Unshares,
    /// One after the other.
    Both,
}

const ALL: [Meanwhile; 3] = [Meanwhile::Shares, Meanwhile::Unshares, Meanwhile::Both];

/// The shared mapping of CPU 1, if it has one.
type Shared = Rc<RefCell<Option<SharedPage<'static, Kernel, Lock, TestMarks>>>>;

/// What happens on CPU 1, as something that can happen at any step of CPU 0.
fn on_other_cpu(scene: &Scene, shared: &Shared, meanwhile: Meanwhile) -> impl Fn() + 'static {
    let (rig, kmap, shared) = (scene.rig, scene.kmap, Rc::clone(shared));
    let share = move || rig.on(1, || kmap.kmap(page(PAGE)).unwrap());
    if meanwhile == Meanwhile::Unshares {
        *shared.borrow_mut() = Some(share());
    }
    move || {
        if meanwhile != Meanwhile::Unshares {
            let mapping = share();
            *shared.borrow_mut() = Some(mapping);
        }
        if meanwhile != Meanwhile::Shares {
            let mapping = shared.borrow_mut().take();
            rig.on(1, || drop(mapping));
        }
    }
}

fn register(rig: &Rig, cpu: u32) -> KeyRegister {
    let value = rig.machine.cpu(cpu).read_msr(x86::PKRS_MSR).unwrap();
    KeyRegister::from_bits(u32::try_from(value).unwrap())
}

/// The page is used as the rights say, and the register has nothing that the context does not.
fn check(scene: &Scene, rights: Rights, when: &str) {
    let rig = scene.rig;
    for access in [Access::Read, Access::Write] {
        let result = rig.access(0, PAGE, access);
        assert_eq!(result.is_ok(), rights.allows(access), "{when}: {access}");
    }
    for cpu in 0..2 {
        let context = rig.context(rig.thread_on(cpu));
        let wanted = context.value_while(rig.keys().closed(), rig.keys().sharing());
        assert_eq!(register(rig, cpu), wanted, "{when}: CPU {cpu}");
    }
    let shared = register(rig, 0).rights(SHARED.pkey());
    let expected = if scene.kmap.is_shared(page(PAGE)) {
        rights
    } else {
        Rights::NoAccess
    };
    assert_eq!(shared, expected, "{when}");
    assert_eq!(register(rig, 0).rights(LEDGER.pkey()), rights, "{when}");
}

#[test]
fn a_page_that_is_shared_while_it_is_mapped_or_unmapped_stays_usable() {
    let mut nr = 0;
    for rights in [Rights::ReadOnly, Rights::ReadWrite] {
        for meanwhile in ALL {
            for is_unmapped in [false, true] {
                let mut step = 0;
                while happens_at(step, rights, meanwhile, is_unmapped) {
                    step += 1;
                }
                assert!(step >= 6, "{step} steps");
                nr += step;
            }
        }
    }
    println!("{nr} interruptions");
}

/// One run. Gives whether there is such a step.
fn happens_at(step: usize, rights: Rights, meanwhile: Meanwhile, is_unmapped: bool) -> bool {
    let mut scene = Scene::new(2, 2);
    let rig = scene.rig;
    let when = format!("{meanwhile:?} at step {step}, unmapped: {is_unmapped}");
    let map = Step::Map {
        thread: 0,
        page: PAGE,
        rights,
    };
    let unmap = Step::Unmap { thread: 0, nth: 0 };
    let shared = Shared::default();
    let by = on_other_cpu(&scene, &shared, meanwhile);
    let has_happened = if is_unmapped {
        scene.step(map);
        check(&scene, rights, &when);
        let has_happened = rig.interrupted(step, by, || scene.step(unmap));
        check(&scene, Rights::NoAccess, &when);
        has_happened
    } else {
        let has_happened = rig.interrupted(step, by, || scene.step(map));
        check(&scene, rights, &when);
        scene.step(unmap);
        check(&scene, Rights::NoAccess, &when);
        has_happened
    };
    let violations = rig.violations();
    assert!(violations.is_empty(), "{when}: {violations:?}");
    has_happened
}
