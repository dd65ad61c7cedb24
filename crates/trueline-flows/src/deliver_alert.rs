//! An alert is told to a webhook: one POST, no redirects, to no address that only this machine or its cloud should reach.

use crate::outgoing::{self, Allowed, Post, Unsent};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use trueline_ledger::{Actor, Ledger};
use trueline_monitoring::{Delivery, Monitoring, MonitoringError};
use trueline_tasks::{Lease, complete};

/// How long a webhook may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where clouds answer with a machine's credentials, beside the link-local addresses.
const METADATA: [&str; 3] = ["100.100.100.200", "192.0.0.192", "fd00:ec2::254"];

/// Which addresses may be told.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Whether this machine itself may: only when the server listens on loopback alone.
    pub loopback: bool,
}

impl Reach {
    /// Whether a webhook may lie at this address.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let metadata = METADATA.iter().any(|m| m.parse() == Ok(address));
        let nowhere = address.is_unspecified() || address.is_multicast();
        !link_local && !metadata && !nowhere && (self.loopback || !address.is_loopback())
    }

    /// Checks an address as it is declared. What a name resolves to is checked at each delivery.
    ///
    /// # Errors
    /// [`MonitoringError::Invalid`].
    pub fn check(self, address: &str) -> Result<(), MonitoringError> {
        let invalid = |why: &str| Err(MonitoringError::Invalid(format!("this webhook can't be used: {why}")));
        let Ok(uri) = address.parse::<ureq::http::Uri>() else { return invalid("it is no URL") };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return invalid("write it as http:// or https://");
        }
        let Some(host) = uri.host().filter(|h| !h.is_empty()) else { return invalid("it names no host") };
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse() {
            Ok(ip) if !self.allows(ip) => invalid(
                "alerts are not sent to link-local and metadata addresses, nor to loopback by a server that listens \
                 elsewhere",
            ),
            _ => Ok(()),
        }
    }
}

impl Allowed for Reach {
    fn allows(&self, address: IpAddr) -> bool {
        (*self).allows(address)
    }
}

fn body(delivery: &Delivery, state: &str) -> Value {
    let Delivery { monitor, alert, .. } = delivery;
    let number = |n: Option<f64>| n.map_or_else(|| "unknown".to_owned(), |n| format!("{n:.4}"));
    json!({
        "version": 1,
        "state": state,
        "text": format!(
            "{}: {} on endpoint {} is {} (alarms beyond {:.4})",
            state, alert.subject, alert.endpoint, number(alert.value), alert.enter
        ),
        "alert": {
            "id": alert.id, "subject": alert.subject, "value": alert.value, "enter": alert.enter, "exit": alert.exit,
            "window_start_ms": alert.last_window_ms,
        },
        "monitor": monitor.name, "endpoint": alert.endpoint, "project": alert.project.as_str(),
        "incident": alert.incident,
    })
}

fn send(reach: Reach, address: &str, task: &str, body: &Value) -> Result<u16, String> {
    // The address may hold a secret, so no message tells it.
    reach.check(address).map_err(|e| e.to_string())?;
    let headers = [("x-trueline-delivery", task.to_owned())];
    let request = Post { address, headers: &headers, body: &body.to_string(), patience: PATIENCE };
    match outgoing::post(&reach, &request) {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(answer.status),
        Ok(answer) => Err(format!("the webhook answered {}", answer.status)),
        Err(Unsent::Forbidden(why) | Unsent::Unreachable(why)) => {
            Err(format!("the webhook can't be reached: {why}"))
        }
    }
}

/// Does the task of telling one webhook of one change of an alert. It may be told twice after a crash; the header
/// `x-trueline-delivery` is the same then.
///
/// # Errors
/// What went wrong, in words; the worker tries again.
pub async fn deliver_alert(
    monitoring: Monitoring,
    ledger: Ledger,
    reach: Reach,
    lease: Lease,
) -> Result<(), String> {
    let told = |field: &str| lease.payload[field].as_str().unwrap_or_default().to_owned();
    let webhook =
        lease.payload["webhook"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let delivery = monitoring.delivery(&told("alert"), webhook).await.map_err(|e| e.to_string())?;
    let (body, address, task) = (body(&delivery, &told("state")), delivery.address, lease.id.clone());
    let sent = tokio::task::spawn_blocking(move || send(reach, &address, &task, &body));
    let status = sent.await.map_err(|e| e.to_string())??;
    let done: Result<(), MonitoringError> = ledger
        .write(&Actor::system("monitoring"), move |tx| {
            Ok(complete(tx, &lease, &json!({ "status": status }))?)
        })
        .await;
    done.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_lie_where_they_may() {
        let (outside, here) = (Reach { loopback: false }, Reach { loopback: true });
        for bad in [
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/x",
            "http://[::ffff:169.254.169.254]/x",
            "http://[fd00:ec2::254]/x",
            "http://100.100.100.200/",
            "http://0.0.0.0/",
            "ftp://hooks.example/x",
            "file:///etc/passwd",
            "hooks.example/x",
            "http:///x",
        ] {
            assert!(here.check(bad).is_err() && outside.check(bad).is_err(), "{bad}");
        }
        for good in ["https://hooks.example/x", "http://10.1.2.3:9093/api"] {
            outside.check(good).unwrap();
        }
        here.check("http://127.0.0.1:9/x").unwrap();
        assert!(outside.check("http://127.0.0.1:9/x").is_err() && outside.check("http://[::1]/x").is_err());
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_refused_when_it_is_looked_up() {
        let outside = Reach { loopback: false };
        outside.check("http://localhost:9/x").unwrap();
        let refused = send(outside, "http://localhost:9/x", "t", &json!({})).unwrap_err();
        assert!(refused.contains("no webhook may have"), "{refused}");
    }
}
