//! Floats as Python writes them.

/// The text that Python's `repr` makes of a float: the fewest digits that tell it from others, a point in every number
/// without an exponent, and an exponent of two digits at least below 1e-4 and from 1e16 on.
///
/// The rule is that of `float_repr_style` "short": `PyOS_double_to_string` with format code `r`.
#[must_use]
pub fn python_repr(float: f64) -> String {
    if !float.is_finite() {
        let word = if float.is_nan() { "nan" } else { "inf" };
        return format!("{}{word}", if float < 0.0 { "-" } else { "" });
    }
    let sign = if float.is_sign_negative() { "-" } else { "" };
    let (digits, exponent) = digits(float.abs());
    let begin = |n: usize| digits.get(..n).unwrap_or(&digits);
    let rest = |n: usize| digits.get(n..).filter(|rest| !rest.is_empty());
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    match exponent {
        0..16 => {
            let whole = begin(places + 1);
            format!("{sign}{whole:0<width$}.{}", rest(places + 1).unwrap_or("0"), width = places + 1)
        }
        -4..0 => format!("{sign}0.{digits:0>width$}", width = places - 1 + digits.len()),
        _ => {
            let fraction = rest(1).map(|rest| format!(".{rest}")).unwrap_or_default();
            let way = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{}{fraction}e{way}{places:02}", begin(1))
        }
    }
}

/// The fewest digits that tell a float from others, and the power of ten of the first. Of digits that are as few the nearest
/// are taken and of two that are as near the even ones, where Rust's own shortest form takes the greater.
fn digits(float: f64) -> (String, i32) {
    let shortest = format!("{float:e}");
    let count = shortest.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    let nearest = format!("{float:.*e}", count.saturating_sub(1));
    // Below a power of two floats are closer together, so that the nearest may be another one's.
    let written = if nearest.parse() == Ok(float) { nearest } else { shortest };
    let (number, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    (number.replace('.', ""), exponent.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Floats of all sizes, each by its bits: those around which the form changes, powers of two and ten and their neighbours,
    /// fractions as people write them, and any.
    fn floats() -> Vec<f64> {
        let mut floats = vec![0.0, f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1), f64::INFINITY, f64::NAN];
        floats.extend((-1074..1024).map(|n| 2.0_f64.powi(n)));
        floats.extend((-320..309).map(|n| format!("1e{n}").parse::<f64>().unwrap()));
        floats.extend((1..2_000).map(|n| f64::from(n) * 1e-7));
        floats.extend((1..2_000).map(|n| f64::from(n) / 100.0));
        let near = |float: &f64| [float.next_down(), float.next_up()];
        let neighbours: Vec<f64> = floats.iter().flat_map(near).collect();
        floats.extend(neighbours);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        floats.extend((0..100_000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(state ^ (state >> 29))
        }));
        let negative: Vec<f64> = floats.iter().map(|float| -float).collect();
        floats.extend(negative);
        floats
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let python = std::env::var("TRUELINE_PYTHON")
            .expect("TRUELINE_PYTHON is not set: run the tests with `cargo xtask test`");
        let program = "import struct, sys\n\
                       bits = sys.stdin.buffer.read()\n\
                       sys.stdout.write('\\n'.join(repr(f) for f, in struct.iter_unpack('<d', bits)))";
        let mut child = Command::new(python)
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let floats = floats();
        let bits: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        child.stdin.take().unwrap().write_all(&bits).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        let told = String::from_utf8(done.stdout).unwrap();
        assert_eq!(told.lines().count(), floats.len());
        for (float, python) in floats.iter().zip(told.lines()) {
            // A NaN has no sign that Python would tell.
            assert_eq!(python_repr(*float), python, "{:#x}", float.to_bits());
        }
    }
}
