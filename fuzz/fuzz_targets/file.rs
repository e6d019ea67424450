//! A shard or a change delta: as it comes, and with right checksums.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whimbrel_backup::shard::{self, Buffers, FileReader, Sequence};
use whimbrel_backup::{Error, delta};
use whimbrel_fuzz::fix_file;

/// Entries that are walked at most: a small file can hold many that share their bytes.
const MOST_BYTES: u64 = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut fixed = bytes.to_vec();
    fix_file(&mut fixed);
    read(&fixed);
});

fn read(bytes: &[u8]) {
    for opened in [shard::open(bytes, "fuzz"), delta::open(bytes, "fuzz")] {
        match opened.and_then(|file| read_all(&file)) {
            Ok(()) => {}
            Err(error) => assert!(error.to_string().starts_with("fuzz, "), "{error}"),
        }
    }
}

fn read_all(file: &FileReader<&[u8]>) -> Result<(), Error> {
    let mut buffers = Buffers::default();
    let mut sequence = Sequence::default().with_most_raw_bytes(MOST_BYTES);
    for number in 0..file.blocks() {
        // A block that can be kept can be read again, and is one that the walk below accepts.
        let kept = file.load(number);
        if kept.is_ok() {
            file.load_again(number)?;
        }
        let block = file.block(number, &mut buffers)?;
        let walked = sequence.walk(&block, |_, _| Ok::<(), Error>(()));
        assert!(walked.is_ok() || kept.is_err() || sequence.tally().raw_bytes > MOST_BYTES);
        walked?;
    }
    file.get(file.first_key(), &mut Buffers::default())?;
    file.check_end(sequence.last_key(), sequence.tally())
}
