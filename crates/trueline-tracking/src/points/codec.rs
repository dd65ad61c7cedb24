//! Points as bytes. A block is one series, sorted by (step, time, value); its columns are kept one after another:
//!
//! ```text
//! version, count, steps, times, values
//! steps and times   differences to the one before, as they are or as (difference, how often)
//! values            doubles, or floats when all of them are floats, or whole numbers like steps
//! ```
//!
//! Whole numbers are LEB128, signed ones in zigzag. A batch is a list of (key, block).

use crate::TrackingError;
use crate::metrics::MetricPoint;

const VERSION: u8 = 1;
/// No block holds more; what is read from a damaged one can't take more memory than this many points do.
pub(crate) const MOST_POINTS: usize = 4096;

const PLAIN: u8 = 0;
const REPEATED: u8 = 1;

const DOUBLES: u8 = 0;
const FLOATS: u8 = 1;
const WHOLE: u8 = 2;

/// Whole numbers up to here are exact as doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn put_unsigned(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn zigzag(n: i64) -> u64 {
    (n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

fn put_numbers(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64> + Clone) {
    let mut before = 0i64;
    let mut plain = vec![PLAIN];
    let mut repeated = vec![REPEATED];
    let mut run: Option<(u64, u64)> = None;
    for number in numbers {
        let difference = zigzag(number.wrapping_sub(before));
        before = number;
        put_unsigned(&mut plain, difference);
        run = match run {
            Some((same, times)) if same == difference => Some((same, times + 1)),
            other => {
                put_run(&mut repeated, other);
                Some((difference, 1))
            }
        };
    }
    put_run(&mut repeated, run);
    out.extend(if repeated.len() < plain.len() { repeated } else { plain });
}

fn put_run(out: &mut Vec<u8>, run: Option<(u64, u64)>) {
    if let Some((difference, times)) = run {
        put_unsigned(out, difference);
        put_unsigned(out, times);
    }
}

fn put_values(out: &mut Vec<u8>, points: &[MetricPoint]) {
    let values = || points.iter().map(|p| p.value);
    let whole = values().all(|v| v.fract() == 0.0 && v.abs() <= EXACT);
    if whole {
        out.push(WHOLE);
        return put_numbers(out, values().map(|v| v as i64));
    }
    let floats = values().all(|v| v.is_nan() || f64::from(v as f32) == v);
    out.push(if floats { FLOATS } else { DOUBLES });
    for value in values() {
        match floats {
            true => out.extend((value as f32).to_le_bytes()),
            false => out.extend(value.to_le_bytes()),
        }
    }
}

/// Writes a block of at most [`MOST_POINTS`] points, whose values are as [`MetricPoint::stored`] has them.
pub(crate) fn put_block(out: &mut Vec<u8>, points: &[MetricPoint]) {
    debug_assert!(points.len() <= MOST_POINTS);
    out.push(VERSION);
    put_unsigned(out, points.len() as u64);
    put_numbers(out, points.iter().map(|p| p.step));
    put_numbers(out, points.iter().map(|p| p.at_ms));
    put_values(out, points);
}

/// Reads what the functions above wrote.
pub(crate) struct Reader<'b> {
    bytes: &'b [u8],
}

fn damaged() -> TrackingError {
    TrackingError::Damaged(
        "a block of metric points can't be read; restore the database from a backup".to_owned(),
    )
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, n: usize) -> Result<&'b [u8], TrackingError> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or_else(damaged)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, TrackingError> {
        let (first, rest) = self.bytes.split_first().ok_or_else(damaged)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn unsigned(&mut self) -> Result<u64, TrackingError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(damaged())
    }

    fn numbers(&mut self, count: usize) -> Result<Vec<i64>, TrackingError> {
        let mut out = Vec::with_capacity(count);
        let mut number = 0i64;
        match self.byte()? {
            PLAIN => {
                for _ in 0..count {
                    number = number.wrapping_add(unzigzag(self.unsigned()?));
                    out.push(number);
                }
            }
            REPEATED => {
                while out.len() < count {
                    let difference = unzigzag(self.unsigned()?);
                    let times = usize::try_from(self.unsigned()?).map_err(|_| damaged())?;
                    if times == 0 || times > count - out.len() {
                        return Err(damaged());
                    }
                    for _ in 0..times {
                        number = number.wrapping_add(difference);
                        out.push(number);
                    }
                }
            }
            _ => return Err(damaged()),
        }
        Ok(out)
    }

    /// Adds the points of the next block to `out`.
    pub(crate) fn block(&mut self, out: &mut Vec<MetricPoint>) -> Result<(), TrackingError> {
        if self.byte()? != VERSION {
            return Err(damaged());
        }
        let count =
            usize::try_from(self.unsigned()?).ok().filter(|n| *n <= MOST_POINTS).ok_or_else(damaged)?;
        let steps = self.numbers(count)?;
        let times = self.numbers(count)?;
        let when = steps.into_iter().zip(times);
        let point = |((step, at_ms), value)| MetricPoint { step, at_ms, value };
        match self.byte()? {
            WHOLE => {
                let values = self.numbers(count)?;
                out.extend(when.zip(values.into_iter().map(|v| v as f64)).map(point));
            }
            FLOATS => {
                let (values, _) = self.take(count * 4)?.as_chunks::<4>();
                out.extend(when.zip(values.iter().map(|b| f64::from(f32::from_le_bytes(*b)))).map(point));
            }
            DOUBLES => {
                let (values, _) = self.take(count * 8)?.as_chunks::<8>();
                out.extend(when.zip(values.iter().map(|b| f64::from_le_bytes(*b))).map(point));
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    /// The key of the next block of a batch.
    pub(crate) fn key(&mut self) -> Result<&'b str, TrackingError> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| damaged())?;
        std::str::from_utf8(self.take(length)?).map_err(|_| damaged())
    }
}

/// Writes the key that the next block of a batch is of.
pub(crate) fn put_key(out: &mut Vec<u8>, key: &str) {
    put_unsigned(out, key.len() as u64);
    out.extend(key.as_bytes());
}

/// Reads one block.
pub(crate) fn block(bytes: &[u8], out: &mut Vec<MetricPoint>) -> Result<(), TrackingError> {
    let mut reader = Reader::new(bytes);
    reader.block(out)?;
    if reader.is_at_end() { Ok(()) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(points: &[MetricPoint]) -> Vec<u8> {
        let mut out = Vec::new();
        put_block(&mut out, points);
        out
    }

    fn same(a: &[MetricPoint], b: &[MetricPoint]) -> bool {
        let bits = |p: &MetricPoint| (p.step, p.at_ms, p.value.to_bits());
        a.iter().map(bits).eq(b.iter().map(bits))
    }

    fn values() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_map(|v| if v.is_nan() { f64::NAN } else { v.clamp(f64::MIN, f64::MAX) + 0.0 }),
            any::<f32>().prop_map(|v| if v.is_nan() {
                f64::NAN
            } else {
                f64::from(v).clamp(f64::MIN, f64::MAX) + 0.0
            }),
            any::<i32>().prop_map(f64::from),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(points in prop::collection::vec((any::<i64>(), any::<i64>(), values()), 0..300)) {
            let points: Vec<MetricPoint> =
                points.into_iter().map(|(step, at_ms, value)| MetricPoint { step, at_ms, value }).collect();
            let mut read = Vec::new();
            block(&bytes(&points), &mut read).unwrap();
            prop_assert!(same(&points, &read));
        }

        #[test]
        fn damage_is_an_error_or_other_points_but_never_a_panic(
            points in prop::collection::vec((0i64..50, 0i64..50, values()), 1..50),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let points: Vec<MetricPoint> =
                points.into_iter().map(|(step, at_ms, value)| MetricPoint { step, at_ms, value }).collect();
            let mut bytes = bytes(&points);
            let at = at.index(bytes.len());
            bytes[at] = with;
            let mut read = Vec::new();
            if block(&bytes, &mut read).is_ok() {
                prop_assert!(read.len() <= MOST_POINTS);
            }
            prop_assert!(block(&bytes[..at], &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn a_training_loop_takes_few_bytes_a_point() {
        let mut seed = 7u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        let points: Vec<MetricPoint> = (0..4096)
            .map(|step| MetricPoint {
                step,
                at_ms: 1_700_000_000_000 + step * 250 + (random() % 40) as i64,
                value: 1.0 / (step + 1) as f64 + random() as f64 * 1e-12,
            })
            .collect();
        let doubles = bytes(&points).len();
        assert!(doubles <= 4096 * 10 + 32, "{doubles}");
        let floats: Vec<MetricPoint> =
            points.iter().map(|p| MetricPoint { value: f64::from(p.value as f32), ..*p }).collect();
        let floats = bytes(&floats).len();
        assert!(floats <= 4096 * 6 + 32, "{floats}");
    }

    #[test]
    fn a_block_that_claims_too_many_points_is_refused() {
        let mut bytes = vec![VERSION];
        put_unsigned(&mut bytes, MOST_POINTS as u64 + 1);
        assert!(block(&bytes, &mut Vec::new()).is_err());
    }
}
