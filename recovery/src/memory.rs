//! How much memory this process may still take.

use std::fs;

/// What the system calls available, or what is left of the control group's limit where that is less. None
/// where the system says neither.
pub(crate) fn available() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| available_in(&text));
    let group = || {
        let (max, used) =
            (read("/sys/fs/cgroup/memory.max")?, read("/sys/fs/cgroup/memory.current")?);
        left_of(&max, &used)
    };
    match (machine, group()) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// The bytes of the line `MemAvailable:   123 kB`.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// `max` is a number, or the word itself where there is no limit.
fn left_of(max: &str, used: &str) -> Option<u64> {
    let (max, used): (u64, u64) = (max.trim().parse().ok()?, used.trim().parse().ok()?);
    Some(max.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_figures_are_read_and_nonsense_is_none() {
        let meminfo = "MemTotal: 16 kB\nMemAvailable:    8123 kB\nBuffers: 0 kB";
        assert_eq!(available_in(meminfo), Some(8123 << 10));
        for nonsense in ["MemTotal: 16 kB", "MemAvailable: many kB", "MemAvailable: 7"] {
            assert_eq!(available_in(nonsense), None, "{nonsense}");
        }
        assert_eq!(left_of("1000\n", "400\n"), Some(600));
        assert_eq!(left_of("1000\n", "4000\n"), Some(0));
        assert_eq!(left_of("max\n", "400\n"), None);
    }
}
