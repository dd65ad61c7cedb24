//! What a webhook may be called and where it may lie. A name is looked up by a flow, which asks [`Rules::allows`] for each
//! address that it leads to, when the webhook is made and again for every request.

use crate::WebhookError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use url::{Host, ParseError, Url};

/// The rules for webhooks of one server.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Schemes that an address may have.
    pub schemes: Vec<String>,
    /// Whether an address may lie in a private network or on this machine.
    pub private: bool,
    /// How long a webhook may take to answer.
    pub patience: Duration,
    /// How often a request that failed is sent again.
    pub retries: u32,
}

impl Default for Rules {
    /// MLflow's.
    fn default() -> Self {
        Self {
            schemes: vec!["https".to_owned()],
            private: false,
            patience: Duration::from_secs(30),
            retries: 3,
        }
    }
}

/// An address that keeps the rules as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address in its one canonical spelling.
    pub url: String,
    /// The host that it names.
    pub host: String,
    /// The port that it names or that its scheme has.
    pub port: u16,
}

fn invalid(message: String) -> WebhookError {
    WebhookError::Invalid(message)
}

impl Rules {
    /// Checks an address as it is written.
    ///
    /// # Errors
    /// [`WebhookError::Invalid`], in MLflow's words.
    pub fn target(&self, address: &str) -> Result<Target, WebhookError> {
        if address.trim().is_empty() {
            return Err(invalid(format!("Webhook URL cannot be empty or just whitespace: '{address}'")));
        }
        let scheme_refused = |scheme: &str| {
            invalid(format!(
                "Invalid webhook URL scheme: '{scheme}'. Allowed schemes are: {}.",
                self.schemes.join(", ")
            ))
        };
        let no_host = || invalid(format!("Webhook URL must include a hostname: '{address}'"));
        let url = match Url::parse(address) {
            Ok(url) => url,
            Err(ParseError::RelativeUrlWithoutBase) => return Err(scheme_refused("")),
            Err(ParseError::EmptyHost) => return Err(no_host()),
            Err(error) => return Err(invalid(format!("Invalid webhook URL '{address}': {error}"))),
        };
        if !self.schemes.iter().any(|s| s == url.scheme()) {
            return Err(scheme_refused(url.scheme()));
        }
        let host = match url.host().ok_or_else(no_host)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(v4) => v4.to_string(),
            Host::Ipv6(v6) => v6.to_string(),
        };
        let port = url.port_or_known_default().ok_or_else(|| scheme_refused(url.scheme()))?;
        Ok(Target { url: url.into(), host, port })
    }

    /// Whether a request may be sent to this address.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.private || is_public(address)
    }

    /// Checks one of the addresses that a host's name leads to.
    ///
    /// # Errors
    /// [`WebhookError::Invalid`], in MLflow's words.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), WebhookError> {
        if self.allows(address) {
            return Ok(());
        }
        Err(invalid(format!(
            "Webhook URL must not resolve to a non-public IP address. '{host}' resolves to {address}."
        )))
    }
}

/// 1 to 63 letters, digits, dots, underscores and hyphens, with a letter or digit at both ends.
pub(crate) fn name(name: &str) -> Result<(), WebhookError> {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if name.len() <= 63 && inner && end(name.chars().next()) && end(name.chars().last()) {
        return Ok(());
    }
    Err(invalid(format!(
        "Webhook name '{name}' is invalid. It must start and end with a letter or digit, be less than 63 characters long, and \
         contain only letters, digits, dots (.), underscores (_), and hyphens (-)."
    )))
}

/// Whether an address lies in the public internet (IANA's special-purpose registries, RFC 6890).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 leads to the IPv4 address in its last bits.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments with Teredo, documentation, 6to4.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast; everything else is local, multicast or not assigned.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_of_private_networks_are_not_public() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001:0:1::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "::127.0.0.1",
            "fec0::1",
            "100::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in
            ["93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_address_is_told_what_is_wrong_with_it_in_mlflows_words() {
        let rules = Rules::default();
        let told = |address: &str| rules.target(address).unwrap_err().to_string();
        assert_eq!(told("  "), "Webhook URL cannot be empty or just whitespace: '  '");
        assert_eq!(
            told("ftp://example.com"),
            "Invalid webhook URL scheme: 'ftp'. Allowed schemes are: https."
        );
        assert_eq!(told("example.com/x"), "Invalid webhook URL scheme: ''. Allowed schemes are: https.");
        assert!(told("http://[invalid").starts_with("Invalid webhook URL 'http://[invalid': "));
        assert_eq!(told("https://"), "Webhook URL must include a hostname: 'https://'");
    }

    #[test]
    fn other_spellings_of_a_number_are_seen_through() {
        let rules = Rules::default();
        for address in
            ["https://127.1/x", "https://0x7f000001/x", "https://2130706433/", "https://[::ffff:7f00:1]/"]
        {
            let host = rules.target(address).unwrap().host;
            let refused = rules.check_address(&host, host.parse().unwrap()).unwrap_err().to_string();
            assert!(refused.contains("must not resolve to a non-public IP address"), "{address}: {refused}");
        }
    }

    #[test]
    fn names_are_short_words_with_inner_punctuation() {
        for good in ["a", "model_version.created-1", &"x".repeat(63)] {
            name(good).unwrap();
        }
        for bad in ["", "-a", "a.", "a b", "é", &"x".repeat(64)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
