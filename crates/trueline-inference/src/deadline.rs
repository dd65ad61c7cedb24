//! Until when a caller waits for an answer: what is not begun by then is not begun at all.

use crate::error::Refusal;
use crate::header;
use axum::http::{HeaderMap, HeaderName};
use std::time::{Duration, Instant};

/// Our own header, in milliseconds.
static OWN: HeaderName = HeaderName::from_static("x-trueline-timeout-ms");
/// What Envoy tells those behind it, in milliseconds.
static ENVOY: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// What clients of gRPC tell: up to eight digits and a unit.
static GRPC: HeaderName = HeaderName::from_static("grpc-timeout");

/// All headers that tell it.
#[cfg(test)]
pub(crate) static HEADERS: [&HeaderName; 3] = [&OWN, &ENVOY, &GRPC];

/// The deadline of a request that began then, if its caller names one.
pub(crate) fn deadline(headers: &HeaderMap, began: Instant) -> Result<Option<Instant>, Refusal> {
    let read = |name: &HeaderName, parse: fn(&str) -> Option<Duration>, form: &str| {
        let Some(told) = header(headers, name) else { return Ok(None) };
        let wrong = || Refusal::bad(format!("the header {name} is `{told}`: it takes {form}"));
        // One that is centuries away is none.
        parse(told).ok_or_else(wrong).map(|timeout| began.checked_add(timeout))
    };
    let all = [
        read(&OWN, milliseconds, "a whole number of milliseconds")?,
        read(&ENVOY, milliseconds, "a whole number of milliseconds")?,
        read(&GRPC, of_grpc, "up to eight digits and a unit: H, M, S, m, u or n")?,
    ];
    Ok(all.into_iter().flatten().min())
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

/// As the specification of gRPC over HTTP/2 has it.
fn of_grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| fits)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn wait(told: &[(&HeaderName, &'static str)]) -> Result<Option<Duration>, String> {
        let headers = told.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_static(value)));
        let began = Instant::now();
        let found = deadline(&headers.collect(), began).map_err(|e| e.message().to_owned());
        Ok(found?.map(|at| at - began))
    }

    #[test]
    fn the_shortest_of_what_a_caller_and_its_proxies_say_counts() {
        assert_eq!(wait(&[]), Ok(None));
        assert_eq!(wait(&[(&OWN, "250")]), Ok(Some(Duration::from_millis(250))));
        assert_eq!(wait(&[(&OWN, "250"), (&ENVOY, "15")]), Ok(Some(Duration::from_millis(15))));
        assert_eq!(wait(&[(&GRPC, "2S")]), Ok(Some(Duration::from_secs(2))));
        assert_eq!(wait(&[(&GRPC, "99999999H"), (&OWN, "1")]), Ok(Some(Duration::from_millis(1))));
        for (name, bad) in [
            (&OWN, "soon"),
            (&OWN, "-1"),
            (&ENVOY, "1.5"),
            (&GRPC, "S"),
            (&GRPC, "123456789m"),
            (&GRPC, "1x"),
        ] {
            assert!(wait(&[(name, bad)]).unwrap_err().contains(name.as_str()), "{bad}");
        }
    }
}
