//! Short fractions, as people measure them, read many at a time: where they end is looked up first, and then all of them are read by
//! the same steps, a few in each of the processor's registers. Nothing else is read: the first that is anything else ends it.

use super::numbers::{EACH, POWERS, float};

/// Numbers that are read together.
pub(super) const MANY: usize = 32;
/// With fewer than this, reading one after the other takes no longer.
pub(super) const FEWEST: usize = 20;
/// Bytes in which commas are looked for at once.
const BLOCK: usize = 64;
/// A digit, a point and a digit.
const SHORTEST: u64 = 3;
/// Where eight bytes begin that no number is in.
const NOTHING: u64 = 64;

/// Room for texts between commas, and for what is read of them. It is used again and again, since making it takes as long as
/// reading some of them.
#[derive(Debug)]
pub(super) struct Fractions {
    /// The eight bytes that end before each comma.
    words: [u64; MANY],
    /// Bits of these that lie before its digits; `NOTHING`, or more, where it is too long or has none.
    outside: [u64; MANY],
    /// The highest bit of those that are negative.
    signs: [u64; MANY],
    /// Where the next text begins.
    next: [usize; MANY],
    numbers: [u64; MANY],
    /// The lowest bit of the byte in which each point was.
    points: [u64; MANY],
    /// Nothing, where it is a fraction as JSON has them.
    wrong: [u64; MANY],
    values: [f64; MANY],
}

impl Fractions {
    pub(super) fn new() -> Self {
        let nothing = [0; MANY];
        Self {
            words: nothing,
            outside: nothing,
            signs: nothing,
            next: [0; MANY],
            numbers: nothing,
            points: nothing,
            wrong: nothing,
            values: [0.0; MANY],
        }
    }

    /// Reads fractions that begin at `at`, each with a comma and at most one space behind it; those, and where they end.
    pub(super) fn read(&mut self, body: &[u8], at: usize) -> (&[f64], usize) {
        let count = self.count(body, at);
        let end = count.checked_sub(1).map_or(at, |last| self.next[last]);
        (&self.values[..count], end)
    }

    fn count(&mut self, body: &[u8], at: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("bmi1") && has!("bmi2") {
                // SAFETY: the processor has what the function needs.
                #[allow(unsafe_code)]
                return unsafe { self.with_avx2(body, at) };
            }
        }
        self.take(body, at)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn with_avx2(&mut self, body: &[u8], at: usize) -> usize {
        self.take(body, at)
    }

    #[inline(always)]
    fn take(&mut self, body: &[u8], at: usize) -> usize {
        let texts = self.part(body, at);
        if texts < FEWEST {
            return 0;
        }
        self.outside[texts..].fill(NOTHING);
        let all_right = self.decide();
        let mut powers = [1.0; MANY];
        for (power, point) in powers.iter_mut().zip(&self.points) {
            *power = POWERS[7 - (point.trailing_zeros() as usize / 8) % 8];
        }
        for (i, value) in self.values.iter_mut().enumerate() {
            *value = f64::from_bits((float(self.numbers[i]) / powers[i]).to_bits() | self.signs[i]);
        }
        if all_right { MANY } else { self.wrong.iter().take_while(|wrong| **wrong == 0).count() }
    }

    /// Finds texts between commas; how many these are.
    #[inline(always)]
    fn part(&mut self, body: &[u8], mut at: usize) -> usize {
        let mut n = 0;
        while let Some(block) = body.get(at..).and_then(|rest| rest.first_chunk()) {
            let (begin, mut commas) = (at, commas(block));
            if commas == 0 {
                break;
            }
            while commas != 0 {
                let comma = begin + commas.trailing_zeros() as usize;
                commas &= commas - 1;
                let Some(last) = body[..comma].last_chunk() else { return n };
                let negative = u64::from(body[at] == b'-');
                let length = (comma.wrapping_sub(at) as u64).wrapping_sub(negative);
                self.words[n] = u64::from_le_bytes(*last);
                self.outside[n] = NOTHING.wrapping_sub(8 * length);
                self.signs[n] = negative << 63;
                at = comma + 1 + usize::from(body.get(comma + 1) == Some(&b' '));
                self.next[n] = at;
                n += 1;
                if n == MANY {
                    return n;
                }
            }
        }
        n
    }

    /// Reads all texts, and says whether all are right. Without a branch, so that several are read in a register: bytes become
    /// digits, then pairs, then fours, then one number.
    #[inline(always)]
    fn decide(&mut self) -> bool {
        const PAIRS: u64 = 0x00ff_00ff_00ff_00ff;
        const FOURS: u64 = 0x0000_ffff_0000_ffff;
        const FIRST_FOUR: u64 = 0xffff_ffff;
        let mut any_wrong = 0;
        for i in 0..MANY {
            let outside = self.outside[i];
            let is_long = u64::from(outside > NOTHING - 8 * SHORTEST);
            let outside = outside % NOTHING;
            let bytes = (self.words[i] ^ (EACH * 0x30)) >> outside << outside;
            // The highest bit of each byte that is no digit, which one that is not ASCII has itself.
            let others = (bytes.wrapping_add(EACH * 0x76) | bytes) & (EACH * 0x80);
            let more_than_one = others & others.wrapping_sub(1);
            let (point, first) = (others >> 7, 1 << outside);
            let all_of_point = (point << 8).wrapping_sub(point);
            // What a point is beside a nought, 30, without a product, which registers have of smaller numbers only.
            let is_no_point = (bytes & all_of_point) ^ (point << 5).wrapping_sub(point << 1);
            // Digits on both sides, and no zero before others.
            let at_an_end = u64::from(point <= first) | point >> 56;
            let first_digit = bytes & (first << 8).wrapping_sub(first);
            let zero_before = u64::from((first_digit == 0) & (point > first << 8));
            let wrong = is_long | more_than_one | is_no_point | at_an_end | zero_before;
            any_wrong |= wrong;

            let below = point.wrapping_sub(1);
            let digits = bytes & !below & !all_of_point | (bytes & below) << 8;
            let pairs = (digits << 3).wrapping_add(digits << 1).wrapping_add(digits >> 8) & PAIRS;
            let fours =
                (pairs << 6).wrapping_add(pairs << 5).wrapping_add(pairs << 2).wrapping_add(pairs >> 16);
            let fours = fours & FOURS;
            self.numbers[i] = (fours & FIRST_FOUR) * 10_000 + (fours >> 32);
            (self.points[i], self.wrong[i]) = (point, wrong);
        }
        any_wrong == 0
    }
}

/// Where commas are among so many bytes, the first in the lowest bit.
#[inline(always)]
fn commas(block: &[u8; BLOCK]) -> u64 {
    const LOW: u64 = EACH * 0x7f;
    let (words, _) = block.as_chunks();
    words.iter().rev().fold(0, |found, word| {
        let other = u64::from_le_bytes(*word) ^ (EACH * b',' as u64);
        // The highest bit of each byte that is nothing, which was a comma; then these bits side by side.
        let equal = !((other & LOW).wrapping_add(LOW) | other | LOW) >> 7;
        found << 8 | equal.wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

#[cfg(test)]
mod tests {
    use super::{FEWEST, Fractions, MANY, commas};
    use proptest::prelude::*;

    /// Texts with a comma behind each, some that are short fractions and some that are nearly.
    fn texts() -> impl Strategy<Value = Vec<String>> {
        let text = prop_oneof![
            20 => r"-?(0|[1-9][0-9]{0,3})\.[0-9]{1,4}",
            1 => r"-?[0-9]{1,5}(\.[0-9]{0,9})?",
            1 => r"-?[0-9]\.[0-9](e[0-9])?",
            1 => r"[-0-9.\]\[eé]{0,9}",
        ];
        prop::collection::vec(text, 0..3 * MANY)
    }

    /// What JSON says of a text that is one digit at least, a point, and one digit at least, in eight bytes.
    fn value(text: &str) -> Option<f64> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (before, behind) = digits.split_once('.')?;
        let digits_alone = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_short = digits.len() <= 8 && digits_alone(before) && digits_alone(behind);
        is_short.then(|| serde_json::from_str(text).ok()).flatten()
    }

    proptest! {
        #[test]
        fn fractions_are_read_as_json_reads_them_up_to_the_first_that_is_none(
            texts in texts(),
            apart in prop_oneof![Just(","), Just(", ")],
            behind in 0_usize..100,
        ) {
            let begin = 9;
            let list: String = texts.iter().map(|text| format!("{text}{apart}")).collect();
            let body = format!("{}{list}{}", "[".repeat(begin), "]".repeat(behind));
            let mut room = Fractions::new();
            let (values, end) = room.read(body.as_bytes(), begin);
            let count = values.len();
            let expected: Vec<f64> = texts.iter().map_while(|text| value(text)).collect();
            prop_assert!(count <= expected.len());
            for (found, expected) in values.iter().zip(&expected) {
                prop_assert_eq!(found.to_bits(), expected.to_bits());
            }
            // As any processor reads them.
            let mut plain = Fractions::new();
            prop_assert_eq!(plain.take(body.as_bytes(), begin), count);
            prop_assert!(values.iter().zip(&plain.values).all(|(a, b)| a.to_bits() == b.to_bits()));
            let taken: String = texts[..count].iter().map(|text| format!("{text}{apart}")).collect();
            prop_assert_eq!(end, begin + taken.len());
            // All of them, where commas can be looked for at once.
            if expected.len() >= FEWEST && behind > 64 && !list.contains('é') {
                prop_assert_eq!(count, expected.len().min(MANY));
            }
        }

        #[test]
        fn commas_are_found(block in prop::collection::vec(any::<u8>(), 64)) {
            let block: [u8; 64] = block.try_into().unwrap();
            let found = (0..64).filter(|i| commas(&block) >> i & 1 == 1);
            let expected = (0..64).filter(|i| block[*i] == b',');
            prop_assert!(found.eq(expected));
        }
    }
}
