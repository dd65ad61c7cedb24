//! `trueline serve` as a process.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use super::{BINARY, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

/// A container that was started.
pub struct Container {
    child: Child,
    url: String,
    pub port: u16,
}

impl Container {
    /// Starts it and waits until the model is ready.
    pub fn start(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = Command::new(BINARY);
        command.arg("serve").args(args).stderr(Stdio::null());
        command.env("TRUELINE_PORT", port.to_string()).env("TRUELINE_HOST", "127.0.0.1");
        command.envs(variables.iter().copied());
        let child = command.spawn().expect("it starts");
        let container = Self { child, url: format!("http://127.0.0.1:{port}"), port };
        wait_until("the model is ready", || {
            container.call("GET", "/ping", None, &[]).is_ok_and(|a| a.0 == 200)
        });
        container
    }

    pub fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Result<(u16, Value, BTreeMap<String, String>), ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() && headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        let mut answer = match body {
            Some(body) => agent.run(request.body(body).expect("a request"))?,
            None => agent.run(request.body(()).expect("a request"))?,
        };
        let told = answer.headers().iter();
        let told = told.map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned())).collect();
        let body = answer.body_mut().read_to_string()?;
        let value = serde_json::from_str(&body).unwrap_or(Value::String(body));
        Ok((answer.status().as_u16(), value, told))
    }

    pub fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, answer, _) = self.call("POST", path, Some(body.to_string()), &[]).expect("an answer");
        (status, answer)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
