//! Huge pages, and memory that was given back.
//!
//! mimalloc asks for huge pages (2 MiB), which make first touches and searches cheaper. When a part of
//! one is given back the kernel splits it, and that memory is free. But a thread of the kernel,
//! khugepaged, makes huge pages of small ones where it was asked to, and fills what is missing: minutes
//! later a store of which a tenth is left would take again what it took before. So where much of a piece
//! of address space is not in memory, the kernel is told to leave its pages small, until it is full again.

use std::ops::Range;

use libmimalloc_sys::mi_is_in_heap_region;

/// Of each piece of this size mimalloc knows whether it is in use.
const SLICE: usize = 64 << 10;

/// A part of the address space, as `/proc/self/smaps` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Area {
    range: Range<usize>,
    /// Bytes that are in memory.
    resident: usize,
    /// Whether huge pages were asked for, or asked not to be used.
    huge: Option<bool>,
}

impl Area {
    /// What the kernel is to be told.
    fn advice(&self) -> Option<libc::c_int> {
        let is_full = self.resident >= self.range.len() / 4 * 3;
        match (self.huge?, is_full) {
            (true, false) => Some(libc::MADV_NOHUGEPAGE),
            (false, true) => Some(libc::MADV_HUGEPAGE),
            _ => None,
        }
    }

    /// Whether it is mimalloc's, and in use.
    fn is_ours(&self) -> bool {
        self.range.clone().step_by(SLICE).any(|at| {
            // SAFETY: asks about an address and reads nothing there.
            unsafe { mi_is_in_heap_region(std::ptr::without_provenance(at)) }
        })
    }
}

/// Has what was given back stay given back.
pub(crate) fn keep_holes() {
    // Without that file there is nothing that could be told.
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for area in areas(&smaps) {
        let Some(advice) = area.advice().filter(|_| area.is_ours()) else { continue };
        let start = std::ptr::with_exposed_provenance_mut(area.range.start);
        // SAFETY: whatever lies there, this advice changes no byte of it. It may be refused.
        unsafe { libc::madvise(start, area.range.len(), advice) };
    }
}

/// The areas of a text like `/proc/self/smaps`. What is not understood is left out.
fn areas(smaps: &str) -> Vec<Area> {
    let mut areas: Vec<Area> = Vec::new();
    for line in smaps.lines() {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(range) = range_of(name) {
            areas.push(Area { range, resident: 0, huge: None });
            continue;
        }
        let Some(area) = areas.last_mut() else { continue };
        match name {
            "Rss:" => {
                let kib = rest.trim().strip_suffix(" kB").and_then(|number| number.parse().ok());
                area.resident = kib.map_or(0, |kib: usize| kib * 1024);
            }
            "VmFlags:" => area.huge = huge_of(rest),
            _ => {}
        }
    }
    areas
}

fn range_of(name: &str) -> Option<Range<usize>> {
    let (start, end) = name.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    Some(number(start)?..number(end)?)
}

fn huge_of(flags: &str) -> Option<bool> {
    flags.split_whitespace().find_map(|flag| match flag {
        "hg" => Some(true),
        "nh" => Some(false),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Area, areas};

    #[test]
    fn areas_are_read_and_judged() {
        let text = "\
20000000000-20004000000 rw-p 00000000 00:00 0
Size:              65536 kB
Rss:               20480 kB
AnonHugePages:     18432 kB
VmFlags: rd wr mr mw me ac nr hg
20004400000-20008400000 rw-p 00000000 00:00 0
Rss:               65536 kB
VmFlags: rd wr mr mw me ac nr hg
20008400000-2000c400000 rw-p 00000000 00:00 0
Rss:               65000 kB
VmFlags: rd wr mr mw me ac nr nh
7f0000000000-7f0000001000 r-xp 00000000 fe:00 42 /usr/lib/a-b.so
Rss:                   ? kB
VmFlags: rd ex mr mw me
VmFlags:";
        let area = |start, len, kib: usize, huge| Area {
            range: start..start + len,
            resident: kib * 1024,
            huge,
        };
        let expected = [
            area(0x0200_0000_0000, 64 << 20, 20_480, Some(true)),
            area(0x0200_0440_0000, 64 << 20, 65_536, Some(true)),
            area(0x0200_0840_0000, 64 << 20, 65_000, Some(false)),
            area(0x7f00_0000_0000, 4096, 0, None),
        ];
        assert_eq!(areas(text), expected);
        let advice: Vec<_> = expected.iter().map(Area::advice).collect();
        let (small, huge) = (Some(libc::MADV_NOHUGEPAGE), Some(libc::MADV_HUGEPAGE));
        assert_eq!(advice, [small, None, huge, None]);
        assert_eq!(areas(""), []);
        assert_eq!(areas("Rss: 1 kB\nno-range x"), []);
    }

    #[test]
    fn the_process_knows_its_own_areas() {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let here = std::ptr::from_ref(&smaps).addr();
        let found = areas(&smaps).into_iter().find(|area| area.range.contains(&here));
        assert!(found.is_none_or(|area| area.resident > 0 && !area.is_ours()), "the stack");
    }
}
