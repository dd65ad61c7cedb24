//! Panics of the Parquet reader and the program's panic hook. A process of its own, since the hook is the whole program's.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use trueline_query::{Contradiction, contain, is_contained, keep_contained_panics_quiet};

static TOLD: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_hook_is_told_of_panics_that_are_not_contained_and_of_no_others() {
    std::panic::set_hook(Box::new(|_| {
        TOLD.fetch_add(1, Ordering::SeqCst);
    }));
    keep_contained_panics_quiet();

    let within = contain(|| contain(|| panic!("damaged")).map_err(|_| is_contained()));
    assert_eq!(within, Ok(Err::<(), _>(true)), "the outer one still contains");
    assert_eq!(contain(|| -> usize { panic!("damaged") }), Err(Contradiction));
    assert_eq!(TOLD.load(Ordering::SeqCst), 0);

    assert!(!is_contained());
    assert!(catch_unwind(|| panic!("a fault of ours")).is_err());
    assert_eq!(TOLD.load(Ordering::SeqCst), 1);

    // What another thread does meanwhile is its own.
    let elsewhere = contain(|| std::thread::spawn(|| panic!("a fault of ours")).join().is_err());
    assert_eq!(elsewhere, Ok(true));
    assert_eq!(TOLD.load(Ordering::SeqCst), 2);
}
