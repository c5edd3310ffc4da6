//! Random changes, and what a map makes of them.

use std::collections::BTreeMap;

use super::model::{Model, Random};
use crate::dax::{Device, Store, StoreError};

/// What a store should have.
pub(super) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Compact,
    /// Opened anew.
    Reopen,
}

/// The smallest device.
pub(super) const SMALL: usize = 256 + 2048;
/// So many keys that not all of them have room.
pub(super) const MANY_KEYS: usize = 60;
/// The longest record on it.
const MAX_RECORD: usize = 64;

/// How large the record of a key and a value is.
fn size(key: &[u8], value: &[u8]) -> usize {
    (24 + key.len() + value.len()).next_multiple_of(8)
}

/// Whether a value has room on the smallest device beside what there is, the old value of its key among it.
pub(super) fn has_room(contents: &Contents, key: &[u8], value: &[u8]) -> bool {
    let live: usize = contents.iter().map(|(key, value)| size(key, value)).sum();
    live + size(key, value) + 8 * (MAX_RECORD + 24) <= 2048
}

/// One of so many keys, and mostly few of them.
pub(super) fn random_change(random: &mut Random, nr_keys: usize) -> Change {
    let few = 1 + random.below(nr_keys);
    let number = random.below(few);
    let key = vec![b'a' + number as u8; 1 + number % 5];
    match random.below(20) {
        0 => Change::Compact,
        1 => Change::Reopen,
        2..=4 => Change::Delete(key),
        _ => {
            let most = MAX_RECORD - 24 - key.len();
            let len = random.below(most + 1).max(random.below(most + 1));
            // Values that look like records: what was a value once must not be taken for one.
            let byte = [0, 1, 0x7A, 0xDA, 0xFF][random.below(5)];
            let mut value = vec![byte; len];
            for byte in &mut value {
                if random.below(4) == 0 {
                    *byte = random.next() as u8;
                }
            }
            Change::Put(key, value)
        }
    }
}

impl Change {
    /// What the map is afterwards, and whether the store takes it.
    pub(super) fn apply(&self, contents: &mut Contents) -> bool {
        match self {
            Self::Put(key, value) => {
                if !has_room(contents, key, value) {
                    return false;
                }
                contents.insert(key.clone(), value.clone());
            }
            Self::Delete(key) => {
                contents.remove(key);
            }
            Self::Compact | Self::Reopen => {}
        }
        true
    }

    /// Makes the change. Gives whether the store took it.
    pub(super) fn make(&self, store: &mut Option<Store<Model>>) -> bool {
        let here = store.as_mut().unwrap();
        match self {
            Self::Put(key, value) => match here.put(key, value) {
                Ok(()) => {}
                Err(StoreError::Full { .. }) => return false,
                Err(other) => panic!("{self:?}: {other}"),
            },
            Self::Delete(key) => {
                let had = here.get(key).unwrap().is_some();
                assert_eq!(here.delete(key), Ok(had));
            }
            Self::Compact => here.compact().unwrap(),
            Self::Reopen => {
                let device = store.take().unwrap().into_device();
                *store = Some(Store::open(device).unwrap());
            }
        }
        true
    }
}

/// All that a store has.
pub(super) fn contents<D: Device>(store: &Store<D>) -> Result<Contents, StoreError<D::Fault>> {
    let mut contents = Contents::new();
    for key in store.keys() {
        let value = store.get(key)?.unwrap();
        contents.insert(key.to_vec(), value);
    }
    Ok(contents)
}

#[test]
fn a_store_keeps_what_a_map_keeps() {
    for seed in 1..40 {
        let mut random = Random(seed);
        let device = Model::garbage(SMALL, &mut random);
        let mut store = Some(Store::format(device).unwrap());
        let mut expected = Contents::new();
        let nr_keys = [3, 8, MANY_KEYS][seed as usize % 3];
        let mut nr_refused = 0;
        for number in 0..400 {
            let change = random_change(&mut random, nr_keys);
            let is_taken = change.apply(&mut expected);
            assert_eq!(
                change.make(&mut store),
                is_taken,
                "{seed} {number}: {change:?}"
            );
            nr_refused += usize::from(!is_taken);
            let has = contents(store.as_ref().unwrap()).unwrap();
            assert_eq!(has, expected, "{seed} {number}: {change:?}");
        }
        assert_eq!(nr_refused > 0, nr_keys == MANY_KEYS, "{seed}: {nr_refused}");
    }
}
