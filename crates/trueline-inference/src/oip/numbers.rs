//! Lists of numbers, which make nearly all of a large request, read in one pass over its bytes and lifted out of the
//! JSON, so that what remains for the JSON reader is small. Whatever is not regular is not lifted: the JSON reader takes
//! it, or tells what is wrong with it.

use super::datatype::Wire;
use super::fractions::{self, Fractions};
use trueline_tensors::{DataType, Values};

/// The member of an input that holds its values.
const DATA: &[u8] = b"\"data\"";
/// What stands for a list that was lifted out.
const LIFTED: &[u8] = b"[]";
/// Lists in lists: more than any tensor has dimensions.
const DEEPEST: usize = 16;
/// Up to here every whole number is a float, so that a float keeps which one it was.
const MOST_EXACT: u64 = 1 << 53;
/// Bytes of a number and of what parts it from the next.
const USUAL_LENGTH: usize = 6;
/// What it is worth at most to try to read many fractions together: in lists of other numbers, or of short lists, it would be in
/// vain each time.
const TRUST: u32 = 12;
/// What it is worth more where this finds many, and less where it finds few, which costs more than the other saves.
const WON: u32 = 2;
const LOST: u32 = 3;
/// Digits that surely fit into 64 bits.
const MOST_DIGITS: usize = 19;
/// The powers of ten that are floats themselves.
pub(super) const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// 10 to the number of digits that were read at once.
const WHOLE_POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// A body without its lists of numbers, and those.
#[derive(Debug)]
pub(super) struct Lifted {
    /// The body, an empty list where numbers were.
    pub(super) json: Vec<u8>,
    /// Where each stood in `json`, in that order.
    lists: Vec<(usize, Numbers)>,
}

/// The numbers of a list, or of lists in it, one after the other.
#[derive(Debug)]
pub(super) struct Numbers {
    /// What is missing is NaN.
    values: Vec<f64>,
    /// Whether all were written as whole numbers.
    whole: bool,
}

impl Lifted {
    /// Lifts the lists of all members called `data`; none where one is anything else than numbers, or where there are none.
    ///
    /// A body that is no JSON may come out as one that is none either, never as one that is.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let mut lifted = Self { json: Vec::new(), lists: Vec::new() };
        let (mut at, mut copied) = (0, 0);
        let mut fractions = Fractions::new();
        while let Some(quote) = body[at..].iter().position(|b| *b == b'"') {
            let begin = at + quote;
            at = end_of_text(body, begin + 1)?;
            if body[begin..at] != *DATA {
                continue;
            }
            let numbers = Numbers { values: Vec::new(), whole: true };
            let mut reader = Reader { body, at, numbers, fractions: &mut fractions, trust: TRUST };
            if !reader.comes_to_a_list() {
                continue;
            }
            let list = reader.at;
            // Mostly there is one list, which is all of the body. Others grow as they are read: what is reserved for each is
            // taken together.
            if lifted.lists.is_empty() {
                reader.numbers.values.reserve((body.len() - list) / USUAL_LENGTH);
            }
            reader.list(0)?;
            lifted.json.extend_from_slice(&body[copied..list]);
            lifted.lists.push((lifted.json.len(), reader.numbers));
            lifted.json.extend_from_slice(LIFTED);
            (at, copied) = (reader.at, reader.at);
        }
        lifted.json.extend_from_slice(&body[copied..]);
        (!lifted.lists.is_empty()).then_some(lifted)
    }

    /// The numbers that a part of `json` stands for, if it does.
    pub(super) fn find(&self, part: &str) -> Option<&Numbers> {
        let place = part.as_ptr().addr().checked_sub(self.json.as_ptr().addr())?;
        let found = self.lists.binary_search_by_key(&place, |(begin, _)| *begin).ok()?;
        self.lists.get(found).map(|(_, numbers)| numbers)
    }
}

impl Numbers {
    /// The numbers as values of a type; none where some are not of it.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn values(&self, wire: Wire) -> Option<Values> {
        macro_rules! whole {
            ($variant:ident, $kind:ty) => {{
                // All of them are whole, and small enough to be exact.
                let one = |value: &f64| <$kind>::try_from(*value as i64).ok();
                let list = self.values.iter().filter(|_| self.whole).map(one).collect::<Option<Vec<_>>>()?;
                (list.len() == self.values.len()).then_some(Values::$variant(list))
            }};
        }
        match wire {
            Wire::Fp16 | Wire::Same(DataType::Fp32) => {
                Some(Values::Fp32(self.values.iter().map(|value| *value as f32).collect()))
            }
            Wire::Same(DataType::Fp64) => Some(Values::Fp64(self.values.clone())),
            Wire::Same(DataType::Uint8) => whole!(Uint8, u8),
            Wire::Same(DataType::Uint16) => whole!(Uint16, u16),
            Wire::Same(DataType::Uint32) => whole!(Uint32, u32),
            Wire::Same(DataType::Uint64) => whole!(Uint64, u64),
            Wire::Same(DataType::Int8) => whole!(Int8, i8),
            Wire::Same(DataType::Int16) => whole!(Int16, i16),
            Wire::Same(DataType::Int32) => whole!(Int32, i32),
            Wire::Same(DataType::Int64) => whole!(Int64, i64),
            Wire::Same(DataType::Bool | DataType::Bytes | DataType::Text | DataType::Json) => None,
        }
    }
}

/// Behind the quote that ends a text.
fn end_of_text(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match body.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The number that the digits at the front of eight bytes are, the first in the lowest, and how many they are.
///
/// No loop over digits, whose number no processor foresees: bytes become digits, then pairs, then fours, then one number, as in
/// D. Lemire, "Number parsing at a gigabyte per second" (2021).
fn leading_digits(bytes: u64) -> (u64, usize) {
    let count = others(bytes).trailing_zeros() / 8;
    (in_front(bytes, count), count as usize)
}

/// A byte in each of eight.
pub(super) const EACH: u64 = 0x0101_0101_0101_0101;

/// The highest bit of each of eight bytes that is no digit; of those behind one that is not ASCII it says nothing.
fn others(bytes: u64) -> u64 {
    let digits = bytes ^ (EACH * 0x30);
    (digits.wrapping_add(EACH * 0x76) | digits) & (EACH * 0x80)
}

/// The number that so many digits at the front of eight bytes are.
fn in_front(bytes: u64, count: u32) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    // Zeros in front, nothing behind.
    let digits = (bytes ^ (EACH * 0x30)).checked_shl(64 - 8 * count).unwrap_or(0);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (pairs & PAIRS).wrapping_mul(1_000_000 << 32 | 100);
    let low = (pairs >> 16 & PAIRS).wrapping_mul(10_000 << 32 | 1);
    high.wrapping_add(low) >> 32
}

/// A fraction that is over within eight bytes, as most are that people measured: its digits, how many of them are behind the
/// point, and its length. No sign, no exponent.
#[inline(always)]
fn short(next: &[u8; 8]) -> Option<(u64, usize, usize)> {
    let bytes = u64::from_le_bytes(*next);
    let others = others(bytes);
    let behind_point = others & others.wrapping_sub(1);
    let (point, end) = (others.trailing_zeros() / 8, behind_point.trailing_zeros() / 8);
    // Nothing but digits on both sides, and no zero before others.
    if point == 0 || end >= 8 || end == point + 1 || (point > 1 && next[0] == b'0') {
        return None;
    }
    if next[point as usize] != b'.' || matches!(next[end as usize], b'e' | b'E') {
        return None;
    }
    let before = (1 << (8 * point)) - 1;
    let digits = bytes & before | bytes >> 8 & !before;
    Some((in_front(digits, end - 1), (end - point - 1) as usize, end as usize))
}

/// A whole number below 2^52, put behind the leading one of 2^52. The processor's own conversion waits for what was in the
/// register before, here the quotient of the number before.
pub(super) fn float(number: u64) -> f64 {
    const LEADING: f64 = 4_503_599_627_370_496.0;
    f64::from_bits(LEADING.to_bits() | number) - LEADING
}

/// Without a branch, for signs come as they like.
fn signed(value: f64, negative: bool) -> f64 {
    f64::from_bits(value.to_bits() | u64::from(negative) << 63)
}

/// Reads numbers as JSON has them, and nothing else.
struct Reader<'b> {
    body: &'b [u8],
    at: usize,
    numbers: Numbers,
    fractions: &'b mut Fractions,
    /// What it is worth to try to read many fractions together; nothing more once it is nothing.
    trust: u32,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn skips(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Whether a colon and a list follow a member's name.
    fn comes_to_a_list(&mut self) -> bool {
        self.space();
        let named = self.skips(b':');
        self.space();
        named && self.peek() == Some(b'[')
    }

    /// A list, from its bracket on.
    fn list(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.space();
        if self.skips(b']') {
            return Some(());
        }
        loop {
            self.short_numbers();
            match self.peek()? {
                b'[' if depth < DEEPEST => self.list(depth + 1)?,
                b'n' => self.null()?,
                _ => self.number()?,
            }
            self.space();
            if self.skips(b']') {
                return Some(());
            }
            if !self.skips(b',') {
                return None;
            }
            self.space();
        }
    }

    /// A missing value.
    fn null(&mut self) -> Option<()> {
        if !self.body[self.at..].starts_with(b"null") {
            return None;
        }
        self.at += 4;
        self.numbers.whole = false;
        self.numbers.values.push(f64::NAN);
        Some(())
    }

    /// How many digits come, which are added to the right of `number`; what does not fit is lost.
    fn digits(&mut self, number: &mut u64) -> usize {
        let begin = self.at;
        while let Some(next) = self.body[self.at..].first_chunk() {
            let (value, count) = leading_digits(u64::from_le_bytes(*next));
            *number = number.wrapping_mul(WHOLE_POWERS[count]).wrapping_add(value);
            self.at += count;
            if count < next.len() {
                return self.at - begin;
            }
        }
        while let Some(digit) = self.peek().map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            *number = number.wrapping_mul(10).wrapping_add(digit.into());
            self.at += 1;
        }
        self.at - begin
    }

    /// Short fractions, each with the comma behind it; a value follows them still.
    fn short_numbers(&mut self) {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return;
        }
        let begin = self.at;
        while self.trust > 0 {
            let (values, end) = self.fractions.read(self.body, self.at);
            self.numbers.values.extend_from_slice(values);
            let count = values.len();
            self.at = end;
            self.trust = match count < fractions::FEWEST {
                true => self.trust.saturating_sub(LOST),
                false => TRUST.min(self.trust + WON),
            };
            if count < fractions::MANY {
                break;
            }
        }
        let (body, mut at) = (self.body, self.at);
        let values = &mut self.numbers.values;
        loop {
            let negative = body.get(at) == Some(&b'-');
            let digits = at + usize::from(negative);
            let next = body.get(digits..).and_then(|rest| rest.first_chunk());
            let Some((number, fraction, length)) = next.and_then(short) else { break };
            let end = digits + length;
            if body.get(end) != Some(&b',') {
                break;
            }
            values.push(signed(float(number) / POWERS[fraction], negative));
            // Branches, which are foreseen, so that the next number need not wait for this one.
            at = if body.get(end + 1) == Some(&b' ') { end + 2 } else { end + 1 };
        }
        self.numbers.whole &= at == begin;
        self.at = at;
        self.space();
    }

    /// A number of any length, whole or with a point and an exponent.
    fn number(&mut self) -> Option<()> {
        let begin = self.at;
        let negative = self.skips(b'-');
        let (mut number, mut whole) = (0, true);
        // A zero stands alone before the point.
        let mut digits = if self.skips(b'0') { 1 } else { self.digits(&mut number) };
        if digits == 0 {
            return None;
        }
        let mut exponent = 0;
        if self.skips(b'.') {
            let fraction = self.digits(&mut number);
            if fraction == 0 {
                return None;
            }
            (digits, whole) = (digits + fraction, false);
            exponent = i32::try_from(fraction).ok()?.checked_neg()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            whole = false;
            exponent = exponent.checked_add(self.exponent()?)?;
        }
        let value = match exact(number, exponent).filter(|_| digits <= MOST_DIGITS) {
            Some(value) => signed(value, negative),
            // A whole number that no float need be is left to the reader of JSON.
            None if whole => return None,
            None => std::str::from_utf8(&self.body[begin..self.at]).ok()?.parse().ok()?,
        };
        // `-0` is a float to JSON's reader, and no whole number.
        self.numbers.whole &= whole && !(negative && number == 0);
        self.numbers.values.push(value);
        value.is_finite().then_some(())
    }

    /// The power of ten behind its `e`.
    fn exponent(&mut self) -> Option<i32> {
        let negative = self.skips(b'-');
        if !negative {
            self.skips(b'+');
        }
        let mut power = 0;
        let digits = self.digits(&mut power);
        let power = i32::try_from(power).ok().filter(|_| (1..MOST_DIGITS).contains(&digits))?;
        Some(if negative { -power } else { power })
    }
}

/// `number` × 10^`exponent`, where one operation on exact floats gives it, so that it is rounded once: the fast path of
/// Clinger, "How to read floating point numbers accurately" (1990).
#[allow(clippy::cast_precision_loss)]
fn exact(number: u64, exponent: i32) -> Option<f64> {
    if number > MOST_EXACT {
        return None;
    }
    let power = POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    Some(if exponent < 0 { number as f64 / power } else { number as f64 * power })
}
