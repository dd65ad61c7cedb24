//! The allocator: mimalloc, of which each thread takes back from time to time what others have freed of its memory. How memory
//! is laid out is mimalloc's alone.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// Blocks from this size on are counted. Smaller ones must cost nothing more, and mimalloc takes longer for these anyway.
const COUNTED_BYTES: usize = 1 << 10;
/// How many bytes a thread asks for between two looks at what has come back.
const BETWEEN_BYTES: usize = 256 << 10;

thread_local! {
    /// What this thread has asked for since it last looked.
    static ASKED_BYTES: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code)]
unsafe extern "C" {
    /// Of mimalloc: the calling thread takes back what other threads have freed of its blocks, and gives empty pages to all.
    safe fn mi_collect(force: bool);
}

/// Requests make many small values on one thread and drop them on another, at which the system's allocator is slow. Without
/// huge pages (`no_thp`), which take 20 MiB more at rest.
///
/// What one thread allocates and another frees goes back to the first, which mimalloc has look for it only when it is short of
/// blocks of that size, or after ten thousand times that it was. What a request brings is read on one thread and dropped on
/// another, so each thread would keep pages of every size with nothing in them. So a thread looks whenever it has asked for some
/// more.
pub(crate) struct Collecting;

/// Counts what is asked for; at times the thread collects.
#[inline]
fn count(bytes: usize) {
    if bytes >= COUNTED_BYTES && asked_for_enough(bytes) {
        mi_collect(false);
    }
}

/// Whether this thread has asked for so much, with these bytes, that it should look again.
fn asked_for_enough(bytes: usize) -> bool {
    let asked = ASKED_BYTES.get().saturating_add(bytes);
    let enough = asked >= BETWEEN_BYTES;
    ASKED_BYTES.set(if enough { 0 } else { asked });
    enough
}

// SAFETY: every block is mimalloc's own, whose contract is that of `GlobalAlloc`. Counting neither allocates nor panics: the
// thread's count is a plain number that needs no destructor, and collecting is what mimalloc does by itself when it allocates.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Collecting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is handed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is handed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        // SAFETY: the caller's promise is handed on.
        unsafe { MiMalloc.realloc(block, layout, bytes) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    /// Threads that allocate.
    const THREADS: usize = 32;
    /// From 16 to 512 KiB in steps of a quarter of a doubling: mimalloc has pages of their own for each.
    const SIZES: [usize; 20] = [4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112];

    fn resident_kib() -> usize {
        let of_process = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = of_process.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size() / 1024
    }

    #[test]
    fn memory_that_another_thread_has_freed_comes_back_while_the_one_that_asked_for_it_lives() {
        let (give, given) = mpsc::channel();
        let start = || {
            let (ask, asked) = mpsc::channel::<usize>();
            let give = give.clone();
            std::thread::spawn(move || asked.iter().try_for_each(|bytes| give.send(vec![1_u8; bytes])));
            ask
        };
        let threads: Vec<_> = (0..THREADS).map(|_| start()).collect();
        let before = resident_kib();
        for kib in SIZES.map(|n| 4 * n) {
            for thread in &threads {
                thread.send(kib << 10).unwrap();
                drop(given.recv().unwrap());
            }
        }
        // One block of each size for each thread, of which one is there at a time.
        let all = SIZES.iter().map(|n| 4 * n).sum::<usize>() * THREADS;
        let kept = resident_kib().saturating_sub(before);
        assert!(kept < all * 2 / 3, "{kept} KiB more are resident, of {all} that were asked for and freed");
    }
}
