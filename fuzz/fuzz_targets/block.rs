//! One block: as it comes, and with right checksums.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whimbrel_fuzz::{fix_block, read_block};

fuzz_target!(|bytes: &[u8]| {
    read_block(bytes);
    let mut fixed = bytes.to_vec();
    fix_block(&mut fixed);
    read_block(&fixed);
});
