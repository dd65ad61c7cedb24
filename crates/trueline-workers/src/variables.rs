//! The environment variables that other processes get of the server's: what they need to run, and none of its secrets.

use std::ffi::OsString;
use std::process::Command;

const NAMES: [&str; 22] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
];
/// Those that begin like this: locales, and what graphics cards are chosen by.
const BEGINNINGS: [&str; 4] = ["LC_", "CUDA_", "NVIDIA_", "ROCR_"];
/// Those of package registries, which hold passwords of theirs, for the making of environments alone.
const REGISTRIES: [&str; 2] = ["UV_", "PIP_"];

fn ours(beginnings: &[&str]) -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(move |(name, _)| {
        let name = name.to_string_lossy();
        NAMES.contains(&&*name) || beginnings.iter().any(|b| name.starts_with(b))
    })
}

/// Gives a command what a worker gets.
pub(crate) fn for_worker(command: &mut Command) {
    command.env_clear().envs(ours(&BEGINNINGS));
}

/// Gives a command what `uv` gets.
pub(crate) fn for_uv(command: &mut Command) {
    command.env_clear().envs(ours(&[&BEGINNINGS[..], &REGISTRIES[..]].concat()));
    // What pip is told by its own names holds for uv too, unless uv is told otherwise.
    for (pip, uv) in [
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
        ("PIP_CERT", "SSL_CERT_FILE"),
    ] {
        let told = match uv {
            "UV_DEFAULT_INDEX" => std::env::var_os("UV_INDEX_URL").is_some(),
            "UV_INDEX" => std::env::var_os("UV_EXTRA_INDEX_URL").is_some(),
            _ => false,
        } || std::env::var_os(uv).is_some();
        if let (false, Some(value)) = (told, std::env::var_os(pip)) {
            command.env(uv, value);
        }
    }
}
