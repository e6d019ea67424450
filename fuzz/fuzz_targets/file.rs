//! A file of blocks of any kind: as it comes, and with right checksums.

#![no_main]

use libfuzzer_sys::fuzz_target;
use whimbrel_backup::shard::{self, Buffers, FileReader, Sequence};
use whimbrel_backup::{Error, delta, gc_delta, sorted};
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
    let kinds = [
        shard::open(bytes, "fuzz"),
        delta::open(bytes, "fuzz"),
        gc_delta::open(bytes, "fuzz"),
        sorted::open(bytes, "fuzz"),
    ];
    for opened in kinds {
        match opened.and_then(|file| read_all(&file)) {
            Ok(()) => {}
            Err(error) => assert!(error.to_string().starts_with("fuzz, "), "{error}"),
        }
    }
}

fn read_all(file: &FileReader<&[u8]>) -> Result<(), Error> {
    let mut buffers = Buffers::default();
    let mut sequence = Sequence::default().with_most_raw_bytes(MOST_BYTES);
    let mut all_kept = true;
    for number in 0..file.blocks() {
        // A block that can be kept can be read again; where all up to it can, the walk below accepts it.
        all_kept &= file.load(number).is_ok();
        if all_kept {
            file.load_again(number)?;
        }
        let block = file.block(number, &mut buffers)?;
        let walked = sequence.walk(&block, |_, _| Ok::<(), Error>(()));
        assert!(walked.is_ok() || !all_kept || sequence.tally().raw_bytes > MOST_BYTES);
        walked?;
    }
    file.get(file.first_key(), &mut Buffers::default())?;
    file.check_end(sequence.last_key(), sequence.tally())
}
