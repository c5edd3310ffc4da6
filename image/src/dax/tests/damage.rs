//! Memory that changes by itself.

use super::model::{Model, Random};
use super::workload::{Contents, SMALL, contents, random_change};
use crate::dax::{Store, StoreError};

/// Every single bit that falls over is noticed when the store is opened or read, or was of no importance.
#[test]
fn no_single_bit_makes_a_wrong_value() {
    let mut nr_noticed = 0;
    let mut nr_harmless = 0;
    for (seed, nr_changes) in [(1, 0), (2, 3), (3, 40), (4, 170), (5, 111)] {
        let mut random = Random(seed);
        let mut store = Some(Store::format(Model::garbage(SMALL, &mut random)).unwrap());
        let mut expected = Contents::new();
        for _ in 0..nr_changes {
            let change = random_change(&mut random, 8);
            change.apply(&mut expected);
            change.make(&mut store);
        }
        let words = store.unwrap().into_device().words();
        for bit in 0..words.len() * 64 {
            let mut changed = words.clone();
            changed[bit / 64] ^= 1 << (bit % 64);
            match Store::open(Model::of(changed)) {
                Ok(store) => {
                    assert_eq!(
                        contents(&store),
                        Ok(expected.clone()),
                        "seed {seed}, bit {bit}"
                    );
                    nr_harmless += 1;
                }
                Err(StoreError::Damaged { .. } | StoreError::NotAStore) => nr_noticed += 1,
                Err(other) => panic!("seed {seed}, bit {bit}: {other}"),
            }
        }
    }
    println!("{nr_noticed} noticed, {nr_harmless} of no importance");
    assert!(nr_noticed > 5_000 && nr_harmless > 5_000);
}

/// Whatever is on a device, opening it ends.
#[test]
fn devices_full_of_anything_are_refused_or_read() {
    let mut random = Random(77);
    let mut store = Store::format(Model::garbage(SMALL, &mut random)).unwrap();
    for number in 0..30 {
        store.put(&[number % 7 + 1], &[number; 30]).unwrap();
    }
    let words = store.into_device().words();
    for _ in 0..3000 {
        let mut changed = words.clone();
        for _ in 0..1 + random.below(40) {
            let at = random.below(changed.len());
            changed[at] = match random.below(3) {
                0 => random.next(),
                1 => changed[random.below(words.len())],
                _ => 0,
            };
        }
        if let Ok(mut store) = Store::open(Model::of(changed)) {
            let _: Result<_, _> = contents(&store);
            let _: Result<_, _> = store.put(b"more", b"of it");
            let _: Result<_, _> = store.compact();
        }
    }
}

#[test]
fn a_value_that_changes_while_the_store_is_open_is_not_given() {
    let mut store = Store::format(Model::of(vec![0; SMALL / 8])).unwrap();
    store.put(b"key", b"the value").unwrap();
    let device = store.device().clone();
    // Behind mark, header and key.
    let at = 256 + 24 + 3;
    let mut changed = device.clone();
    crate::dax::Device::write(&mut changed, at, b"T").unwrap();
    let error = store.get(b"key").unwrap_err();
    assert_eq!(error, StoreError::Damaged { at: 256 });
    assert_eq!(
        error.to_string(),
        "the memory at 0x100 has changed by itself"
    );
}
