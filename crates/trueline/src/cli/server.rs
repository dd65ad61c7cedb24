//! `trueline server`.

use crate::server::{LogFormat, ServerConfig, start_logging};
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

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
    /// How log lines are written
    #[arg(long, env = "TRUELINE_LOG", value_enum, default_value = "text")]
    log: LogFormat,
}

fn host(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    text.parse().map_err(|_| format!("`{text}` is no IP address; use 127.0.0.1, ::1 or 0.0.0.0"))
}

pub(crate) fn run(args: ServerArgs, began: Instant) -> anyhow::Result<()> {
    start_logging(args.log);
    let ServerArgs { data_dir, host, port, database, .. } = args;
    crate::server::run(ServerConfig { data_dir, host, port, database, began })
}
