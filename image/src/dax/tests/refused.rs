//! What a store refuses, and what is left then: everything.

use super::model::{Gone, Model, Random};
use super::workload::{Contents, SMALL, contents};
use crate::dax::{Device, Store, StoreError};

fn zeros(len_bytes: usize) -> Model {
    Model::of(vec![0; len_bytes / 8])
}

fn small() -> Store<Model> {
    Store::format(zeros(SMALL)).unwrap()
}

#[test]
fn a_device_that_is_too_small_is_refused() {
    for len_bytes in [0, 8, 256, SMALL - 8] {
        let refused = StoreError::DeviceTooSmall { len_bytes };
        assert_eq!(Store::format(zeros(len_bytes)).unwrap_err(), refused);
        assert_eq!(Store::open(zeros(len_bytes)).unwrap_err(), refused);
    }
    let told = Store::open(zeros(8)).unwrap_err().to_string();
    assert_eq!(told, "a store needs 2304 bytes, the device has 8");
    assert!(Store::format(zeros(SMALL)).is_ok());
}

#[test]
fn what_is_no_store_is_not_opened() {
    let mut random = Random(3);
    for device in [zeros(SMALL), Model::garbage(SMALL, &mut random)] {
        let error = Store::open(device).unwrap_err();
        assert_eq!(error, StoreError::NotAStore);
        assert_eq!(error.to_string(), "there is no store on the device");
    }
}

#[test]
fn a_store_is_not_opened_on_a_device_of_another_size() {
    let store = small();
    let mut words = store.into_device().words();
    words.extend([0; 8]);
    let error = Store::open(Model::of(words)).unwrap_err();
    let expected = StoreError::OtherSize {
        has: 2048,
        expected: 2112,
    };
    assert_eq!(error, expected);
    let told = "the log has 2048 bytes, on this device it would have 2112";
    assert_eq!(error.to_string(), told);
}

#[test]
fn keys_and_values_have_lengths() {
    let mut store = small();
    assert_eq!(store.max_len_bytes(), 40);
    for len_bytes in [0, 1025] {
        let refused = StoreError::BadKey { len_bytes };
        assert_eq!(store.put(&vec![1; len_bytes], b"x"), Err(refused));
        assert_eq!(store.delete(&vec![1; len_bytes]).unwrap_err(), refused);
        assert_eq!(store.get(&vec![1; len_bytes]), Ok(None));
    }
    let refused = StoreError::TooLong {
        len_bytes: 41,
        max: 40,
    };
    assert_eq!(store.put(b"k", &[7; 40]), Err(refused));
    assert_eq!(
        refused.to_string(),
        "key and value have 41 bytes, 40 are possible"
    );
    assert_eq!(store.delete(&[1; 41]).unwrap_err(), refused);
    assert_eq!(contents(&store).unwrap(), Contents::new());
    assert_eq!(store.put(b"k", &[7; 39]), Ok(()));
    assert_eq!(store.put(&[9; 40], &[]), Ok(()));
    let store = Store::open(store.into_device()).unwrap();
    assert_eq!(store.get(b"k"), Ok(Some(vec![7; 39])));
    assert_eq!(store.get(&[9; 40]), Ok(Some(Vec::new())));
    // On a device with room for it, the longest key there is.
    let mut large = Store::format(zeros(256 + (64 << 10))).unwrap();
    assert_eq!(large.put(&[1; 1024], b"x"), Ok(()));
    let refused = StoreError::BadKey { len_bytes: 1025 };
    assert_eq!(large.put(&[1; 1025], b"x"), Err(refused));
    assert_eq!(
        refused.to_string(),
        "keys have 1 to 1024 bytes, this has 1025"
    );
}

#[test]
fn a_full_store_says_what_is_left_and_has_everything() {
    let mut store = small();
    let mut expected = Contents::new();
    let error = loop {
        let key = vec![expected.len() as u8 + 1; 4];
        match store.put(&key, &[5; 36]) {
            Ok(()) => expected.insert(key, vec![5; 36]),
            Err(error) => break error,
        };
    };
    let refused = StoreError::Full {
        needed: 64,
        left: 0,
    };
    assert_eq!(expected.len(), 21);
    assert_eq!(error, refused);
    assert_eq!(error.to_string(), "64 bytes are needed, 0 left");
    assert_eq!(contents(&store).unwrap(), expected);
    // Whatever is in it, values go, again and again, and make room.
    for round in 0..50_u8 {
        let key = expected.keys().next().unwrap().clone();
        assert_eq!(store.delete(&key), Ok(true), "{round}");
        assert_eq!(store.put(&key, &[round; 36]), Ok(()), "{round}");
        expected.insert(key, vec![round; 36]);
        assert_eq!(store.put(b"more", &[1; 36]), Err(refused), "{round}");
    }
    for key in expected.keys() {
        assert_eq!(store.delete(key), Ok(true));
    }
    let store = Store::open(store.into_device()).unwrap();
    assert_eq!(contents(&store).unwrap(), Contents::new());
}

#[test]
fn after_an_error_of_the_device_nothing_is_changed_until_the_store_is_opened_anew() {
    for step in 0..60 {
        let mut store = small();
        for number in 0..40 {
            store.put(&[number % 5 + 1], &[number; 39]).unwrap();
        }
        let device = store.device().clone();
        let before = contents(&store).unwrap();
        device.fail_at(step);
        let mut number = 0;
        let error = loop {
            if let Err(error) = store.put(b"new", &[number; 30]) {
                break error;
            }
            number += 1;
        };
        assert_eq!(error, StoreError::Device(Gone));
        assert_eq!(error.to_string(), "the device is gone");
        for error in [
            store.put(b"other", b"1").unwrap_err(),
            store.delete(b"other").unwrap_err(),
            store.compact().unwrap_err(),
        ] {
            assert!(matches!(
                error,
                StoreError::Broken | StoreError::Device(Gone)
            ));
        }
        let again = Store::open(Model::of(device.words())).unwrap();
        let mut found = contents(&again).unwrap();
        let new = found.remove(&b"new"[..]);
        // What was being written may be there.
        let written = [number.checked_sub(1), Some(number)];
        assert!(written.contains(&new.map(|value| value[0])), "step {step}");
        assert_eq!(found, before, "step {step}");
    }
}

#[test]
fn deleting_what_is_not_there_writes_nothing() {
    let mut store = small();
    store.put(b"a", b"1").unwrap();
    let steps = store.device().nr_steps();
    assert_eq!(store.delete(b"b"), Ok(false));
    assert_eq!(store.device().nr_steps(), steps);
    assert_eq!(store.device().len_bytes(), SMALL);
}
