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

type Variable = (OsString, OsString);

fn chosen(all: impl IntoIterator<Item = Variable>, beginnings: &[&str]) -> Vec<Variable> {
    let is_chosen = |(name, _): &Variable| {
        let name = name.to_string_lossy();
        NAMES.contains(&&*name) || beginnings.iter().any(|b| name.starts_with(b))
    };
    all.into_iter().filter(is_chosen).collect()
}

/// Gives a command what a worker gets.
pub(crate) fn for_worker(command: &mut Command) {
    command.env_clear().envs(chosen(std::env::vars_os(), &BEGINNINGS));
}

/// Gives a command what `uv` gets.
pub(crate) fn for_uv(command: &mut Command) {
    let mut found = chosen(std::env::vars_os(), &[&BEGINNINGS[..], &REGISTRIES[..]].concat());
    tell_uv_of_pip(&mut found);
    command.env_clear().envs(found);
}

/// What pip is told by its own names holds for uv too, unless uv is told otherwise.
fn tell_uv_of_pip(variables: &mut Vec<Variable>) {
    let value = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let of = |pip: &str, others: &[&str]| match others.iter().any(|name| value(name).is_some()) {
        true => None,
        false => value(pip),
    };
    let found = [
        ("UV_DEFAULT_INDEX", of("PIP_INDEX_URL", &["UV_DEFAULT_INDEX", "UV_INDEX_URL"])),
        ("UV_INDEX", of("PIP_EXTRA_INDEX_URL", &["UV_INDEX", "UV_EXTRA_INDEX_URL"])),
        ("SSL_CERT_FILE", of("PIP_CERT", &["SSL_CERT_FILE"])),
        // pip's list has spaces, uv's has commas.
        (
            "UV_FIND_LINKS",
            of("PIP_FIND_LINKS", &["UV_FIND_LINKS"])
                .map(|list| list.to_string_lossy().split_whitespace().collect::<Vec<_>>().join(",").into()),
        ),
    ];
    variables.extend(found.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &str)]) -> Vec<Variable> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn secrets_of_the_server_stay_with_it() {
        let all = variables(&[
            ("PATH", "/bin"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("PIP_INDEX_URL", "https://u:p@i"),
            ("LC_ALL", "C"),
        ]);
        assert_eq!(chosen(all.clone(), &BEGINNINGS), variables(&[("PATH", "/bin"), ("LC_ALL", "C")]));
        assert_eq!(
            chosen(all, &REGISTRIES),
            variables(&[("PATH", "/bin"), ("PIP_INDEX_URL", "https://u:p@i")])
        );
    }

    #[test]
    fn uv_is_told_what_pip_was_told_unless_it_was_told_otherwise() {
        let told = |list: &[(&str, &str)]| {
            let mut all = variables(list);
            tell_uv_of_pip(&mut all);
            all.split_off(list.len())
        };
        assert_eq!(told(&[("PIP_INDEX_URL", "https://i")]), variables(&[("UV_DEFAULT_INDEX", "https://i")]));
        assert_eq!(told(&[("PIP_INDEX_URL", "https://i"), ("UV_INDEX_URL", "https://j")]), []);
        assert_eq!(told(&[("PIP_FIND_LINKS", "/a /b")]), variables(&[("UV_FIND_LINKS", "/a,/b")]));
    }
}
