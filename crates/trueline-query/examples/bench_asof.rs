//! How long an as-of join takes, and how much longer the loop that reads the rule aloud would:
//! `cargo run --release -p trueline-query --example bench_asof [left rows] [right rows] [keys]`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;
use trueline_query::arrow_array::{ArrayRef, Int64Array, StringArray, UInt32Array};
use trueline_query::asof::{Side, asof_join};

/// The loop is timed on so many left rows and scaled.
const LOOP_ROWS: usize = 200;
const DAY: i64 = 86_400_000_000;

/// A walk over the numbers below a bound that looks random and is the same every time.
fn walk(rows: usize, bound: i64, seed: i64) -> impl Iterator<Item = i64> {
    (0..rows as i64)
        .map(move |i| (i.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed) >> 17).rem_euclid(bound))
}

fn table(rows: usize, keys: i64, seed: i64) -> (Vec<ArrayRef>, Int64Array) {
    let names: StringArray = walk(rows, keys, seed).map(|k| Some(format!("key-{k}"))).collect();
    (vec![Arc::new(names)], walk(rows, 365 * DAY, seed + 7).map(Some).collect())
}

fn nested_loop(left: &Side<'_>, right: &Side<'_>, ttl: i64, rows: usize) -> UInt32Array {
    let text = |side: &Side<'_>| side.keys[0].as_any().downcast_ref::<StringArray>().unwrap().clone();
    let (asked, known) = (text(left), text(right));
    let one = |row: usize| {
        let at = left.time.value(row);
        let fits = |i: &usize| {
            let time = right.time.value(*i);
            known.value(*i) == asked.value(row) && time <= at && time >= at - ttl
        };
        (0..right.time.len()).filter(fits).max_by_key(|i| (right.time.value(*i), *i)).map(|i| i as u32)
    };
    (0..rows).map(one).collect()
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>().unwrap());
    let left_rows = args.next().unwrap_or(336_776);
    let right_rows = args.next().unwrap_or(1_000_000);
    let keys = args.next().unwrap_or(4_000) as i64;
    let ((left_keys, left_time), (right_keys, right_time)) =
        (table(left_rows, keys, 1), table(right_rows, keys, 2));
    let left = Side { keys: &left_keys, time: &left_time };
    let right = Side { keys: &right_keys, time: &right_time };
    let ttl = 7 * DAY;

    let began = Instant::now();
    let found = asof_join(&left, &right, None, Some(ttl)).unwrap();
    let took = began.elapsed();
    let rate = (left_rows + right_rows) as f64 / took.as_secs_f64() / 1e6;
    println!(
        "sort and merge: {left_rows} x {right_rows} rows, {keys} keys: {took:.3?}, {rate:.1} million rows/s"
    );

    let rows = LOOP_ROWS.min(left_rows);
    let began = Instant::now();
    let expected = nested_loop(&left, &right, ttl, rows);
    let scaled = began.elapsed().mul_f64(left_rows as f64 / rows as f64);
    assert_eq!(found.slice(0, rows), expected, "the operator and the rule disagree");
    println!("nested loop, timed on {rows} left rows: {scaled:.1?} for all");
}
