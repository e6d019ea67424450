//! Goal: an entry takes the bytes that ARCHITECTURE.md says: no more than its value beside its key.
//! Method: stores of the same keys with values of different lengths.

use whimbrel_mvcc::{Clock, Store, StoreStats};

const KEYS: u64 = 5_000;

fn of_length(value_len: usize) -> StoreStats {
    let store = Store::new(&Clock::new());
    for n in 0..KEYS {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        store.put(&key, &vec![1; value_len]).expect("short");
    }
    store.stats()
}

#[test]
fn a_first_version_takes_the_bytes_of_its_value() {
    for value_len in [0, 1, 8, 100] {
        assert_eq!(of_length(value_len).version_bytes, KEYS * value_len as u64);
    }
}

/// Fails where mimalloc is not built as `.cargo/config.toml` says.
#[test]
fn records_take_multiples_of_eight_bytes() {
    let bytes = [0, 8, 16].map(|value_len| of_length(value_len).record_bytes);
    assert_eq!(bytes[1] - bytes[0], 8 * KEYS, "from 32 to 40 bytes");
    assert_eq!(bytes[2] - bytes[1], 8 * KEYS, "from 40 to 48 bytes");
}
