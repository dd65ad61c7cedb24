//! Binary search of many numbers at once, sixteen in a register of AVX-512, through thresholds that are in registers too:
//! a probe is a permutation instead of a load. Without AVX-512 each number is searched alone.

use super::ROWS;

/// Thresholds that are searched so.
const THRESHOLDS: usize = 256;
/// Numbers of one register.
const LANES: usize = 16;

/// Thresholds in the order in which a binary search meets them: sixteenths first, then what halves the rest, again and
/// again. What is missing to [`THRESHOLDS`] is NaN, which is not at most anything.
#[derive(Debug)]
pub(super) struct Ladder {
    /// Every sixteenth, the last of each sixteen.
    sixteenths: [f32; 16],
    /// What is probed with 8, 4, 2 and 1 left.
    eighths: [f32; 16],
    fourths: [f32; 32],
    halves: [f32; 64],
    last: [f32; 128],
}

impl Ladder {
    /// Of rising thresholds; none if there are too many.
    pub(super) fn of(thresholds: &[f32]) -> Option<Self> {
        if thresholds.len() >= THRESHOLDS {
            return None;
        }
        let at = |place: usize| thresholds.get(place).copied().unwrap_or(f32::NAN);
        Some(Self {
            sixteenths: std::array::from_fn(|i| at(16 * i + 15)),
            eighths: std::array::from_fn(|i| at(16 * i + 7)),
            fourths: std::array::from_fn(|i| at(8 * i + 3)),
            halves: std::array::from_fn(|i| at(4 * i + 1)),
            last: std::array::from_fn(|i| at(2 * i)),
        })
    }

    /// How many of the thresholds, those that it was made of, are at most each number; none is at most NaN.
    pub(super) fn ranks(&self, thresholds: &[f32], values: &[f32; ROWS]) -> [u32; ROWS] {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function is compiled for, as was just asked.
            #[allow(unsafe_code)]
            return unsafe { self.ranks_at_once(values) };
        }
        values.map(|x| thresholds.partition_point(|t| *t <= x) as u32)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn ranks_at_once(&self, values: &[f32; ROWS]) -> [u32; ROWS] {
        use std::arch::x86_64::{
            __m512i, _CMP_LE_OQ, _mm512_add_epi32, _mm512_cmp_ps_mask, _mm512_mask_add_epi32,
            _mm512_mask_blend_ps, _mm512_permutex2var_ps, _mm512_permutexvar_ps, _mm512_set1_epi32,
            _mm512_setzero_si512, _mm512_test_epi32_mask,
        };
        let (one, below_sixteen) = (_mm512_set1_epi32(1), register(&self.sixteenths));
        let eighths = register(&self.eighths);
        let fourths = registers::<2>(self.fourths.as_chunks().0);
        let halves = registers::<4>(self.halves.as_chunks().0);
        let last = registers::<8>(self.last.as_chunks().0);
        let mut ranks = [0; ROWS];
        for (values, ranks) in values.as_chunks::<LANES>().0.iter().zip(ranks.as_chunks_mut::<LANES>().0) {
            let x = register(values);
            // Sixteen places, then twice as many and whether the probe was passed, until all 256 are told apart.
            let mut place: __m512i = _mm512_setzero_si512();
            for step in [8, 4, 2, 1] {
                let probe = _mm512_add_epi32(place, _mm512_set1_epi32(step - 1));
                let passed = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(_mm512_permutexvar_ps(probe, below_sixteen), x);
                place = _mm512_mask_add_epi32(place, passed, place, _mm512_set1_epi32(step));
            }
            let further = |place: __m512i, probe| {
                let passed = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(probe, x);
                let doubled = _mm512_add_epi32(place, place);
                _mm512_mask_add_epi32(doubled, passed, doubled, one)
            };
            place = further(place, _mm512_permutexvar_ps(place, eighths));
            place = further(place, _mm512_permutex2var_ps(fourths[0], place, fourths[1]));
            let of_32 = |place, low, high| _mm512_permutex2var_ps(low, place, high);
            let upper = _mm512_test_epi32_mask(place, _mm512_set1_epi32(32));
            let probe = _mm512_mask_blend_ps(
                upper,
                of_32(place, halves[0], halves[1]),
                of_32(place, halves[2], halves[3]),
            );
            place = further(place, probe);
            let upper = _mm512_test_epi32_mask(place, _mm512_set1_epi32(32));
            let of_64 = |at: usize| {
                _mm512_mask_blend_ps(
                    upper,
                    of_32(place, last[at], last[at + 1]),
                    of_32(place, last[at + 2], last[at + 3]),
                )
            };
            let upper = _mm512_test_epi32_mask(place, _mm512_set1_epi32(64));
            place = further(place, _mm512_mask_blend_ps(upper, of_64(0), of_64(4)));
            *ranks = numbers(place);
        }
        ranks
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn registers<const N: usize>(numbers: &[[f32; LANES]]) -> [std::arch::x86_64::__m512; N] {
    std::array::from_fn(|i| register(&numbers[i]))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn register(numbers: &[f32; LANES]) -> std::arch::x86_64::__m512 {
    // SAFETY: the reference is to as many numbers as are loaded, and they need not be aligned.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::x86_64::_mm512_loadu_ps(numbers.as_ptr())
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn numbers(register: std::arch::x86_64::__m512i) -> [u32; LANES] {
    let mut numbers = [0; LANES];
    // SAFETY: the array has room for the whole register, and need not be aligned.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::x86_64::_mm512_storeu_si512(numbers.as_mut_ptr().cast(), register);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<f32>(),
            (-40_i8..40).prop_map(f32::from),
            Just(f32::NAN),
            Just(-0.0),
            Just(f32::INFINITY)
        ]
    }

    proptest! {
        #[test]
        fn numbers_are_ranked_as_if_each_were_searched_alone(
            mut thresholds in prop::collection::vec(number().prop_filter("a threshold", |t| !t.is_nan()), 0..256),
            values in prop::collection::vec(number(), ROWS),
        ) {
            thresholds.sort_unstable_by(f32::total_cmp);
            thresholds.dedup();
            let ladder = Ladder::of(&thresholds).unwrap();
            let values: [f32; ROWS] = values.try_into().unwrap();
            let alone = values.map(|x| thresholds.iter().filter(|t| **t <= x).count() as u32);
            prop_assert_eq!(ladder.ranks(&thresholds, &values), alone);
        }
    }

    #[test]
    fn as_many_thresholds_as_there_are_places_between_are_taken() {
        let thresholds: Vec<f32> = (0_u16..256).map(f32::from).collect();
        assert!(Ladder::of(&thresholds).is_none());
        let ladder = Ladder::of(&thresholds[..255]).unwrap();
        for begin in (0_u16..256).step_by(ROWS) {
            let values = std::array::from_fn(|i| f32::from(begin) + i as f32);
            let expected = std::array::from_fn(|i| (u32::from(begin) + i as u32 + 1).min(255));
            assert_eq!(ladder.ranks(&thresholds[..255], &values), expected);
        }
    }
}
