//! The store on a region with a key: closed but for its own accesses, each of which has the right that it needs.

use pkeys_core::{Access, PageFaultErrorCode, Rights};
use pkeys_kernel::pks::region::{AccessError, KeyedMemory, NoPages, Openers, Pages, Region};

use super::model::Random;
use super::workload::{Contents, contents};
use crate::dax::{Device, Fence, Persistent, RegionDevice, Store, StoreError};
use crate::test_machine::{Bench, Lock, MachineMemory, STORE, ThisKernel};

/// The fence of the machine, which does nothing but to be noted.
pub(crate) struct NotedFence(&'static Bench);

impl Fence for NotedFence {
    fn fence(&self) {
        self.0.note("fence");
    }
}

impl Persistent for MachineMemory {
    type Fence = NotedFence;

    fn write_word(&mut self, at: usize, word: u64) -> Result<(), PageFaultErrorCode> {
        self.bench.note("write");
        self.access(at, Access::Write, &mut word.to_le_bytes())
    }

    fn flush(&self, at: usize, len_bytes: usize) -> Result<(), PageFaultErrorCode> {
        self.bench.note("flush");
        // Of each line one byte, as a read.
        for line in (at..at + len_bytes).step_by(64) {
            self.access(line, Access::Read, &mut [0])?;
        }
        Ok(())
    }
}

fn device<M: Persistent<Fence = NotedFence>>(
    bench: &'static Bench,
    memory: M,
) -> RegionDevice<'static, ThisKernel, Lock, M> {
    let region = Region::new(bench.regions(), memory, STORE, Openers::Owner);
    RegionDevice::new(region.unwrap(), NotedFence(bench))
}

const WRITE_STOPPED: u32 = PageFaultErrorCode::P | PageFaultErrorCode::W | PageFaultErrorCode::PK;

#[test]
fn each_access_has_the_right_that_it_needs_and_no_more() {
    let bench = Bench::new(3);
    let mut store = Store::format(device(bench, bench.memory(0, 2))).unwrap();
    let mut random = Random(9);
    let mut expected = Contents::new();
    for _ in 0..400 {
        let key = vec![random.below(9) as u8 + 1; 3];
        let value = vec![random.next() as u8; random.below(80)];
        store.put(&key, &value).unwrap();
        expected.insert(key, value);
        // Between two calls nobody has the key open.
        assert_eq!(bench.rights(), Rights::NoAccess);
    }
    store.delete(&[1; 3]).unwrap();
    expected.remove(&vec![1; 3]);
    let store = Store::open(store.into_device()).unwrap();
    assert_eq!(contents(&store).unwrap(), expected);
    let log = bench.log.take();
    for (what, nr) in [
        ("read", 400),
        ("write", 800),
        ("flush", 800),
        ("fence", 800),
    ] {
        let made: Vec<_> = log.iter().filter(|(noted, _)| *noted == what).collect();
        assert!(made.len() >= nr, "{} of {what}", made.len());
        let expected = match what {
            "write" => Rights::ReadWrite,
            "fence" => Rights::NoAccess,
            _ => Rights::ReadOnly,
        };
        assert!(made.iter().all(|(_, rights)| *rights == expected), "{what}");
    }
}

#[test]
fn nobody_else_reaches_the_store() {
    let bench = Bench::new(3);
    let mut store = Store::format(device(bench, bench.memory(1, 1))).unwrap();
    store.put(b"key", b"value").unwrap();
    let before = bench.bytes(1, 1);
    for at in (4096..8192).step_by(8) {
        assert!(bench.access(at, Access::Read, &mut 0).is_err());
        let stopped = bench.access(at, Access::Write, &mut 7).unwrap_err();
        assert_eq!(stopped.bits(), WRITE_STOPPED);
    }
    assert_eq!(bench.bytes(1, 1), before);
    assert_eq!(store.get(b"key"), Ok(Some(b"value".to_vec())));
    // Its neighbours are as they were.
    for at in [4095, 8192] {
        assert_eq!(bench.access(at, Access::Write, &mut 7), Ok(()));
    }
    // A handler that interrupts the store finds it closed.
    let device = store.into_device();
    let region = device.into_region();
    let guard = region.read();
    assert_eq!(bench.access(4096, Access::Read, &mut 0), Ok(()));
    bench.interrupt(|| assert!(bench.access(4096, Access::Read, &mut 0).is_err()));
    drop(guard);
}

/// Memory whose reads write as well: a defect in the store's own code.
#[derive(Debug)]
struct ReadsThatWrite(MachineMemory);

impl KeyedMemory for ReadsThatWrite {
    type Fault = PageFaultErrorCode;

    fn pages(&self) -> Result<Pages, NoPages> {
        self.0.pages()
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), PageFaultErrorCode> {
        self.0
            .access(at, Access::Write, &mut vec![0xEE; into.len()])
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), PageFaultErrorCode> {
        self.0.write(at, bytes)
    }
}

impl Persistent for ReadsThatWrite {
    type Fence = NotedFence;

    fn write_word(&mut self, at: usize, word: u64) -> Result<(), PageFaultErrorCode> {
        self.0.write_word(at, word)
    }

    fn flush(&self, at: usize, len_bytes: usize) -> Result<(), PageFaultErrorCode> {
        self.0.flush(at, len_bytes)
    }
}

#[test]
fn the_right_to_read_stops_a_write_of_the_store_itself() {
    let bench = Bench::new(1);
    let mut store = Store::format(device(bench, ReadsThatWrite(bench.memory(0, 1)))).unwrap();
    store.put(b"key", b"value").unwrap();
    let before = bench.bytes(0, 1);
    let error = store.get(b"key").unwrap_err();
    let StoreError::Device(AccessError::Fault(code)) = error else {
        panic!("{error}");
    };
    assert_eq!(code.bits(), WRITE_STOPPED);
    assert_eq!(bench.bytes(0, 1), before);
}

#[test]
fn accesses_beyond_the_device_are_refused() {
    let bench = Bench::new(1);
    let mut device = device(bench, bench.memory(0, 1));
    assert_eq!(device.len_bytes(), 4096);
    bench.log.take();
    for (at, len_bytes) in [(4096, 1), (4090, 8), (usize::MAX, 8), (0, 4097)] {
        let refused = Err(AccessError::OutOfRange {
            at,
            len_bytes,
            of: 4096,
        });
        assert_eq!(device.flush(at, len_bytes), refused);
        assert_eq!(device.read(at, &mut vec![0; len_bytes]), refused);
        assert_eq!(device.write(at, &vec![0; len_bytes]), refused);
        if len_bytes == 8 {
            assert_eq!(device.write_word(at, 1), refused);
        }
    }
    assert!(bench.log.take().is_empty());
}
