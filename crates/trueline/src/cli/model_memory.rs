//! `--model-memory`: how much memory models may take, as a size, as a share of what the machine or the container has, or `off`.

use std::path::Path;
use std::str::FromStr;
use trueline_serving::ModelMemory;

/// What loaded models may take, as it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    Off,
    Bytes(u64),
    /// Of what there is, in percent.
    Share(u8),
}

impl FromStr for MemoryLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is none of a size such as 4GiB, a share such as 50% and `off`");
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(share) = text.strip_suffix('%') {
            let share = share.parse().ok().filter(|percent| (1..=100).contains(percent));
            return share.map(Self::Share).ok_or_else(wrong);
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).filter(|bytes| *bytes > 0).map(Self::Bytes).ok_or_else(wrong)
    }
}

impl MemoryLimit {
    /// What it is on this machine.
    pub(crate) fn here(self) -> ModelMemory {
        let bytes = match self {
            Self::Off => return ModelMemory::Unlimited,
            Self::Bytes(bytes) => bytes,
            Self::Share(percent) => match there_is() {
                Some(all) => all / 100 * u64::from(percent),
                None => {
                    tracing::warn!(
                        "what memory there is can't be found out, so models may take any: say a size with --model-memory"
                    );
                    return ModelMemory::Unlimited;
                }
            },
        };
        ModelMemory::Bytes(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

/// The memory of the machine, or of the container if that has less, in bytes.
fn there_is() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let container = of_groups(&own, Path::new("/sys/fs/cgroup"));
    machine.into_iter().chain(container).min()
}

/// What Linux says that there is, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The least that a control group of this process or one above it may take, of version 2 or 1. A group that is not seen from
/// within a container is left out.
fn of_groups(own: &str, root: &Path) -> Option<u64> {
    let limits = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, kinds, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match kinds {
            "" => (root.to_owned(), "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let of = |group: &Path| {
            let told = std::fs::read_to_string(root.join(group).join(file)).ok()?;
            told.trim().parse::<u64>().ok()
        };
        Path::new(path.trim_start_matches('/')).ancestors().filter_map(of).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_size_a_share_or_off() {
        let read = |text: &str| text.parse::<MemoryLimit>();
        assert_eq!(read("4GiB"), Ok(MemoryLimit::Bytes(4 << 30)));
        assert_eq!(read("300"), Ok(MemoryLimit::Bytes(300)));
        assert_eq!(read("50%"), Ok(MemoryLimit::Share(50)));
        assert_eq!(read("off"), Ok(MemoryLimit::Off));
        for bad in ["", "0", "0GiB", "4 GiB", "4GB", "-1", "0%", "101%", "GiB", "99999999999TiB"] {
            assert!(read(bad).unwrap_err().contains("4GiB"), "{bad}");
        }
        assert_eq!(MemoryLimit::Bytes(7).here(), ModelMemory::Bytes(7));
        assert_eq!(MemoryLimit::Off.here(), ModelMemory::Unlimited);
    }

    #[test]
    fn a_container_has_what_its_tightest_group_has() {
        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, file: &str, text: &str| {
            let folder = root.path().join(group);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), text).unwrap();
        };
        write("pods/one", "memory.max", "max\n");
        write("pods", "memory.max", "5000\n");
        assert_eq!(of_groups("0::/pods/one\n", root.path()), Some(5000));
        assert_eq!(of_groups("0::/elsewhere\n", root.path()), None);
        write("memory/a", "memory.limit_in_bytes", "700\n");
        assert_eq!(of_groups("3:cpu:/a\n4:memory,x:/a/b\n", root.path()), Some(700));
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16 << 10));
    }
}
