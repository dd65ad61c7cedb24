//! Whether a request comes from where it says: a page of another origin can make a browser send requests to a loopback
//! server, which trusts whoever is on the machine.

/// The name part of a `Host` header.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether a `Host` header names this machine. A request without one comes from no browser.
pub(crate) fn host_is_loopback(host: &str) -> bool {
    let name = name_of(host);
    let loopback = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    host.is_empty() || loopback || name.eq_ignore_ascii_case("localhost")
}

/// Whether an `Origin` header names another place than the `Host` header.
pub(crate) fn origin_is_foreign(origin: &str, host: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return true };
    let same = authority.eq_ignore_ascii_case(host);
    // `localhost` and `127.0.0.1` on the same port are one server.
    let port = |a: &str| a.rsplit_once(':').map(|(_, p)| p.to_owned());
    let both_here = host_is_loopback(authority) && host_is_loopback(host) && port(authority) == port(host);
    !(same || both_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        for here in ["localhost:5700", "127.0.0.1", "127.0.0.1:80", "[::1]:5700", ""] {
            assert!(host_is_loopback(here), "{here}");
        }
        for elsewhere in ["evil.example", "evil.example:5700", "10.0.0.1", "127.0.0.1.evil.example"] {
            assert!(!host_is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn origins_of_other_places_are_foreign() {
        assert!(!origin_is_foreign("http://localhost:5700", "127.0.0.1:5700"));
        assert!(!origin_is_foreign("https://ml.example", "ml.example"));
        assert!(origin_is_foreign("http://evil.example", "127.0.0.1:5700"));
        assert!(origin_is_foreign("http://localhost:8080", "127.0.0.1:5700"));
        assert!(origin_is_foreign("null", "127.0.0.1:5700"));
    }
}
