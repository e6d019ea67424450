//! A journal, its segments one behind the other: as it comes, and with right checksums.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whimbrel_fuzz::journal::{fix_journal, read_journal};

fuzz_target!(|bytes: &[u8]| {
    read_journal(bytes);
    let mut fixed = bytes.to_vec();
    fix_journal(&mut fixed);
    read_journal(&fixed);
});
