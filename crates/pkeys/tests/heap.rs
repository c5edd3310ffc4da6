//! The allocator inside a domain, against a naive model and against its limits.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use core::alloc::Layout;
use core::ptr::NonNull;
use std::thread;

use common::{Walk, alone, domain, leaves_nothing_behind, limited};
use pkeys::{Heap, HeapError, MapError, Rights, Window};

/// A block as the model knows it: where, how large, and the byte it is filled with.
struct Block {
    memory: NonNull<u8>,
    layout: Layout,
    fill: u8,
}

impl Block {
    fn range(&self) -> core::ops::Range<usize> {
        let start = self.memory.addr().get();
        start..start + self.layout.size()
    }

    fn bytes<'b>(&'b mut self, _window: &'b Window<'_>) -> &'b mut [u8] {
        // SAFETY: the block is allocated, this test's own, and the window is open.
        unsafe { core::slice::from_raw_parts_mut(self.memory.as_ptr(), self.layout.size()) }
    }

    fn fill(&mut self, window: &Window<'_>) {
        let fill = self.fill;
        self.bytes(window).fill(fill);
    }

    fn check(&mut self, len: usize, window: &Window<'_>) {
        let fill = self.fill;
        assert!(self.bytes(window)[..len] == vec![fill; len]);
    }
}

fn layout(walk: &mut Walk) -> Layout {
    let align = 1 << walk.below(13); // 1 to 4096
    let size = match walk.below(100) {
        0..5 => 0,
        5..70 => walk.below(200),
        70..98 => walk.below(5_000),
        _ => walk.below(300_000),
    };
    Layout::from_size_align(size, align).unwrap()
}

/// Allocates, frees and reallocates at random; the model is a list of blocks, none of which may overlap another, lose
/// its contents or its alignment.
fn walk(heap: &Heap, window: &Window<'_>, seed: u64, steps: usize) {
    let mut walk = Walk::new(seed);
    let mut model: Vec<Block> = Vec::new();
    for step in 0..steps {
        // 300 blocks, more or less.
        let is_growing = walk.below(600) > model.len();
        match walk.below(10) {
            0..8 if is_growing => model.push(allocate(heap, window, &mut walk, &model)),
            0..8 if !model.is_empty() => {
                let mut block = model.swap_remove(walk.below(model.len()));
                block.check(block.layout.size(), window);
                // SAFETY: the block is the heap's with that layout, and is forgotten here.
                unsafe { heap.deallocate(block.memory, block.layout) };
            }
            _ if !model.is_empty() => {
                let at = walk.below(model.len());
                reallocate(heap, window, &mut walk, &mut model[at]);
            }
            _ => {}
        }
        if step % 5_000 == 0 {
            check_all(&mut model, window);
        }
    }
    check_all(&mut model, window);
    for block in model {
        // SAFETY: the block is the heap's with that layout, and is forgotten here.
        unsafe { heap.deallocate(block.memory, block.layout) };
    }
}

fn allocate(heap: &Heap, window: &Window<'_>, walk: &mut Walk, model: &[Block]) -> Block {
    let layout = layout(walk);
    let memory = heap.allocate(layout).unwrap();
    assert_eq!(memory.addr().get() % layout.align(), 0);
    // SAFETY: the block was allocated a moment ago.
    assert!(unsafe { heap.usable_size(memory) }.unwrap() >= layout.size());
    let fill = u8::try_from(walk.below(256)).unwrap();
    let mut block = Block {
        memory,
        layout,
        fill,
    };
    let range = block.range();
    for other in model.iter().rev().take(64) {
        let other = other.range();
        assert!(other.end <= range.start || range.end <= other.start);
        assert!(
            other.start != range.start,
            "a size of 0 has its own address"
        );
    }
    block.fill(window);
    block
}

fn reallocate(heap: &Heap, window: &Window<'_>, walk: &mut Walk, block: &mut Block) {
    let new_size = layout(walk).size();
    // SAFETY: the block is the heap's with that layout; the old address is forgotten.
    let moved = unsafe { heap.reallocate(block.memory, block.layout, new_size) };
    let kept = block.layout.size().min(new_size);
    block.memory = moved.unwrap();
    block.layout = Layout::from_size_align(new_size, block.layout.align()).unwrap();
    assert_eq!(block.memory.addr().get() % block.layout.align(), 0);
    block.check(kept, window);
    block.fill(window);
}

fn check_all(model: &mut [Block], window: &Window<'_>) {
    model.sort_by_key(|block| block.range().start);
    for pair in model.windows(2) {
        assert!(pair[0].range().end <= pair[1].range().start);
    }
    for block in model {
        block.check(block.layout.size(), window);
    }
}

#[test]
fn a_random_walk_agrees_with_the_model() {
    let domain = domain("walk");
    let heap = domain.heap().unwrap();
    let window = domain.open(Rights::ReadWrite).unwrap();
    walk(&heap, &window, 1, 100_000);
    let mapped = heap.mapped_bytes();
    walk(&heap, &window, 1, 10_000);
    assert_eq!(heap.mapped_bytes(), mapped, "freed memory is used again");
}

#[test]
fn threads_share_a_heap() {
    let domain = domain("threads");
    let heap = domain.heap().unwrap();
    thread::scope(|scope| {
        for seed in 0..4 {
            let (heap, domain) = (heap.clone(), &domain);
            scope.spawn(move || {
                let window = domain.open(Rights::ReadWrite).unwrap();
                walk(&heap, &window, seed, 5_000);
            });
        }
    });
}

/// The bookkeeping is the heap's own business: it needs nobody's window, and leaves none open.
#[test]
fn bookkeeping_opens_its_own_window() {
    let domain = domain("bookkeeping");
    let heap = domain.heap().unwrap();
    let layout = Layout::new::<[u64; 100]>();
    let memory = heap.allocate(layout).unwrap();
    // SAFETY: the block is the heap's.
    assert!(unsafe { heap.usable_size(memory) }.unwrap() >= layout.size());
    // SAFETY: the block is the heap's with that layout; the old address is forgotten.
    let memory = unsafe { heap.reallocate(memory, layout, 50_000) }.unwrap();
    let layout = Layout::from_size_align(50_000, layout.align()).unwrap();
    // SAFETY: the block is the heap's with that layout, and is forgotten here.
    unsafe { heap.deallocate(memory, layout) };
    // Also inside a window that only reads.
    let _window = domain.open(Rights::ReadOnly).unwrap();
    let memory = heap.allocate(layout).unwrap();
    // SAFETY: as above.
    unsafe { heap.deallocate(memory, layout) };
}

#[test]
fn a_domain_has_one_heap_as_long_as_somebody_has_it() {
    let domain = domain("one heap");
    let (first, second) = (domain.heap().unwrap(), domain.heap().unwrap());
    let large = Layout::from_size_align(8 << 20, 1).unwrap();
    let memory = first.allocate(large).unwrap();
    assert_eq!(second.mapped_bytes(), first.mapped_bytes());
    // SAFETY: the block is the heap's, whichever handle, and is forgotten here.
    unsafe { second.deallocate(memory, large) };
    drop((first, second));
    assert!(domain.heap().unwrap().mapped_bytes() < 8 << 20, "a new one");
}

/// The heap holds the domain, not the other way round.
#[test]
fn a_heap_outlives_the_name_of_its_domain() {
    let domain = domain("short");
    let heap = domain.heap().unwrap();
    drop(domain);
    assert_eq!(heap.domain_name(), "short");
    heap.allocate(Layout::new::<u64>()).unwrap();
}

#[test]
fn a_size_beyond_all_bounds_is_a_typed_error() {
    let domain = domain("bounds");
    let heap = domain.heap().unwrap();
    let mapped = heap.mapped_bytes();
    let huge = Layout::from_size_align(isize::MAX as usize, 1).unwrap();
    let error = heap.allocate(huge).unwrap_err();
    assert!(matches!(error, HeapError::TooLarge { .. }), "{error:?}");
    let memory = heap.allocate(Layout::new::<u64>()).unwrap();
    for size in [usize::MAX, isize::MAX as usize] {
        // SAFETY: the block is the heap's with that layout; it stays where it is, as the size is refused.
        let error = unsafe { heap.reallocate(memory, Layout::new::<u64>(), size) }.unwrap_err();
        assert!(matches!(error, HeapError::TooLarge { .. }), "{error:?}");
    }
    // SAFETY: the block is the heap's with that layout, and is forgotten here.
    unsafe { heap.deallocate(memory, Layout::new::<u64>()) };
    assert_eq!(heap.mapped_bytes(), mapped);
}

/// `ulimit -v`: what does not fit is refused by name, what fits is still given, and all of it comes back.
#[test]
fn exhaustion_is_a_typed_error_and_leaks_nothing() {
    let test = "exhaustion_is_a_typed_error_and_leaks_nothing";
    alone(test, limited(256), || {
        leaves_nothing_behind(|| {
            let domain = domain("exhausted");
            let heap = domain.heap().unwrap();
            let one = Layout::from_size_align(1 << 20, 4096).unwrap();
            let error = heap.allocate(Layout::from_size_align(1 << 30, 1).unwrap());
            assert_out_of_memory(&error.unwrap_err());
            let mut blocks = Vec::with_capacity(1_000);
            let error = loop {
                match heap.allocate(one) {
                    Ok(memory) => blocks.push(memory),
                    Err(error) => break error,
                }
            };
            assert_out_of_memory(&error);
            assert!(blocks.len() > 50, "{} blocks", blocks.len());
            let left = domain.map::<u8>(8 << 20);
            assert!(left.is_err(), "where the doubled size fails, less is tried");
            let some = Layout::new::<[u64; 4]>();
            let small = heap.allocate(some);
            if let Ok(memory) = small {
                // SAFETY: the block is the heap's with that layout, and is forgotten here.
                unsafe { heap.deallocate(memory, some) };
            }
            for memory in blocks {
                // SAFETY: as above.
                unsafe { heap.deallocate(memory, one) };
            }
            heap.allocate(one).expect("what was freed can be had again");
        });
    });
}

fn assert_out_of_memory(error: &HeapError) {
    let HeapError::Map(MapError::Os { call, source, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!((*call, source.raw_os_error()), ("mmap", Some(libc::ENOMEM)));
    assert!(error.to_string().contains("mmap(2)"), "{error}");
}

#[test]
fn heaps_leave_nothing_behind() {
    alone(
        "heaps_leave_nothing_behind",
        |_| {},
        || {
            leaves_nothing_behind(|| {
                let domain = domain("in and out");
                let heap = domain.heap().unwrap();
                let window = domain.open(Rights::ReadWrite).unwrap();
                walk(&heap, &window, 7, 500);
                drop(window);
                // Not given back: it goes with its heap.
                heap.allocate(Layout::from_size_align(5 << 20, 64).unwrap())
                    .unwrap();
            });
        },
    );
}
