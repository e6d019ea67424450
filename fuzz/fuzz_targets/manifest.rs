//! A manifest: as it comes, and with a right end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whimbrel_backup::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // What is before the last member, or all of it.
    let end = bytes.windows(8).rposition(|part| part == b"\"crc32c\"").unwrap_or(bytes.len());
    let mut fixed = bytes[..end].to_vec();
    let crc = crc32c::crc32c(&fixed);
    fixed.extend_from_slice(format!("\"crc32c\": \"{crc:08x}\"\n}}\n").as_bytes());
    read(&fixed);
});

/// What is accepted can be written again, and is then read as the same.
fn read(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        let again = manifest.encode().expect("what is read can be written");
        let manifest_again = Manifest::decode(&again).expect("what is written can be read");
        assert_eq!(manifest, manifest_again, "the same");
        assert_eq!(manifest_again.encode().expect("as before"), again, "one encoding");
    }
}
