//! How much memory a process holds, as Linux tells.

use anyhow::Context;

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages that are resident, shared ones counted whole.
    pub resident_mib: f64,
    /// The same with shared pages divided among those who share them.
    pub proportional_mib: f64,
    /// The most that was ever resident.
    pub peak_mib: f64,
}

impl Memory {
    /// Of a process that runs now.
    ///
    /// # Errors
    /// When there is none, or it belongs to somebody else.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let resident_mib = field(&format!("/proc/{process}/status"), "VmRSS:")?;
        let proportional_mib = field(&format!("/proc/{process}/smaps_rollup"), "Pss:")?;
        let peak_mib = field(&format!("/proc/{process}/status"), "VmHWM:")?;
        Ok(Self { resident_mib, proportional_mib, peak_mib })
    }
}

/// A field in kB, as MiB.
fn field(file: &str, name: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{file} has no field {name}"))? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_is_counted() {
        let before = Memory::of(std::process::id()).unwrap();
        let held = vec![1_u8; 64 << 20];
        let after = Memory::of(std::process::id()).unwrap();
        assert!(after.resident_mib - before.resident_mib > 50.0, "{before:?} {after:?}");
        assert!(after.proportional_mib - before.proportional_mib > 50.0, "{before:?} {after:?}");
        assert_eq!(held.iter().map(|b| u64::from(*b)).sum::<u64>(), 64 << 20);
    }
}
