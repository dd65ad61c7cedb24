//! `trueline server`.

use crate::server::{Limits, LogFormat, ServerConfig, start_logging};
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Folder that holds everything: database, blobs, ledger
    #[arg(long, env = "TRUELINE_DATA_DIR", default_value = "trueline-data")]
    data_dir: PathBuf,
    /// Address to listen on; other than loopback only once there are users
    #[arg(long, env = "TRUELINE_HOST", default_value = "127.0.0.1", value_parser = host)]
    host: IpAddr,
    /// Port to listen on; 0 for any that is free
    #[arg(long, env = "TRUELINE_PORT", default_value_t = 5700)]
    port: u16,
    /// PostgreSQL to use instead of the embedded database: postgres://user:password@host:port/name
    #[arg(long, env = "TRUELINE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Requests that are worked on at a time; one more is answered 503
    #[arg(long, env = "TRUELINE_MAX_REQUESTS", default_value_t = 512, value_parser = positive)]
    max_requests: u32,
    /// Seconds that a request may take, uploads of files apart
    #[arg(long, env = "TRUELINE_REQUEST_TIMEOUT", default_value_t = 60, value_parser = positive)]
    request_timeout: u32,
    /// Let users in with passwords, with permissions on single resources as MLflow has them
    #[arg(long, env = "TRUELINE_APP_NAME", value_parser = ["basic-auth"])]
    app_name: Option<String>,
    /// Let MLflow's clients choose a workspace, which is a project
    #[arg(long, env = "MLFLOW_ENABLE_WORKSPACES", value_parser = clap::builder::BoolishValueParser::new())]
    enable_workspaces: bool,
    /// How log lines are written
    #[arg(long, env = "TRUELINE_LOG", value_enum, default_value = "text")]
    log: LogFormat,
}

fn positive(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{text}` is no number above 0"))
}

fn host(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    text.parse().map_err(|_| format!("`{text}` is no IP address; use 127.0.0.1, ::1 or 0.0.0.0"))
}

pub(crate) fn run(args: ServerArgs, began: Instant) -> anyhow::Result<()> {
    start_logging(args.log);
    let limits = Limits {
        requests: usize::try_from(args.max_requests)?,
        timeout: Duration::from_secs(args.request_timeout.into()),
    };
    let (basic_auth, workspaces) = (args.app_name.is_some(), args.enable_workspaces);
    let ServerArgs { data_dir, host, port, database, .. } = args;
    crate::server::run(ServerConfig { data_dir, host, port, database, limits, basic_auth, workspaces, began })
}
