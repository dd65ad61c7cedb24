//! How a request proves that it comes from this server: an HMAC as the Standard Webhooks convention has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// `v1,<base64 of HMAC-SHA256(secret, "id.timestamp.body")>`; the timestamp is in seconds since 1970.
#[must_use]
pub fn sign(secret: &str, delivery: &str, timestamp: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{delivery}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_signature_is_the_one_that_other_programs_compute() {
        // python3 -c 'import base64,hmac;print(base64.b64encode(hmac.digest(b"s",b"id.1700000000.{}","sha256")))'
        let expected = "v1,1h8grNN1ZzkstguJpaWXysIg7NGlkPOOV8aNd4M1LCw=";
        assert_eq!(super::sign("s", "id", 1_700_000_000, "{}"), expected);
    }
}
