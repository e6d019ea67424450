//! Whether this machine has room for a slot that is offered to it.

use std::fmt;

/// Needed beside the entries themselves: what is on its way, and the rounds.
const BESIDE: u64 = 16 << 20;

/// What a node takes for the memory that it may fill with slots of others.
///
/// The check looks at one moment and reserves nothing: it keeps a slot from moving to where it
/// cannot fit, not the machine from running out of memory later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryCheck {
    /// What the system calls available (`MemAvailable` of /proc/meminfo); where it does not say,
    /// there is no check. Limits of a container are not seen.
    #[default]
    System,
    /// So many bytes, whatever the system says.
    Assume(u64),
    /// Every slot is taken.
    Off,
}

/// There is not enough memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    announced: u64,
    arriving: u64,
    needed: u64,
    available: u64,
}

impl MemoryCheck {
    /// Whether a slot of `announced` bytes has room beside others of `arriving` bytes that are
    /// being copied here.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub(crate) fn room_for(self, announced: u64, arriving: u64) -> Result<(), Shortage> {
        let available = match self {
            Self::System => system_available(),
            Self::Assume(bytes) => Some(bytes),
            Self::Off => None,
        };
        let Some(available) = available else { return Ok(()) };
        let entries = announced.saturating_add(arriving);
        let needed = entries.saturating_add(entries / 4).saturating_add(BESIDE);
        if needed <= available {
            return Ok(());
        }
        Err(Shortage { announced, arriving, needed, available })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "too little memory: the slot has {} MiB", mib(self.announced))?;
        if self.arriving > 0 {
            write!(f, ", slots that are arriving {} MiB", mib(self.arriving))?;
        }
        let (needed, available) = (mib(self.needed), self.available >> 20);
        write!(f, ", with a margin that needs {needed} MiB, and {available} MiB are available; ")?;
        f.write_str("free memory on its machine, or change its memory check")
    }
}

fn system_available() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The bytes of the line `MemAvailable:   123 kB`.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_needs_a_quarter_more_than_itself_and_the_rest() {
        let check = MemoryCheck::Assume(BESIDE + 125);
        assert_eq!(check.room_for(100, 0), Ok(()));
        assert_eq!(check.room_for(60, 40), Ok(()));
        let shortage = check.room_for(101, 0).expect_err("one byte too many");
        assert_eq!((shortage.needed, shortage.available), (BESIDE + 126, BESIDE + 125));
        assert!(check.room_for(61, 40).is_err());
        assert!(check.room_for(u64::MAX, u64::MAX).is_err());
        assert_eq!(MemoryCheck::Off.room_for(u64::MAX, u64::MAX), Ok(()));
    }

    #[test]
    fn the_systems_figure_is_read_and_nonsense_is_none() {
        let meminfo =
            "MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:    8123 kB\nBuffers: 0 kB";
        assert_eq!(available_in(meminfo), Some(8123 << 10));
        assert_eq!(available_in("MemTotal: 16 kB"), None);
        assert_eq!(available_in("MemAvailable: many kB"), None);
        assert_eq!(available_in("MemAvailable: 99999999999999999999 kB"), None);
    }
}
