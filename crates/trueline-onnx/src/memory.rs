//! What the process takes of memory, as the system counts it: the library does not tell what a session takes.

/// Memory of the process that is not backed by files, in bytes; `None` where the system does not tell.
pub(crate) fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}
