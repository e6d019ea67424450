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
    let bare = of_length(0).record_bytes;
    for value_len in [8, 40, 104] {
        let stats = of_length(value_len);
        assert_eq!(stats.version_bytes, 0, "all lie inline");
        // Size classes of large records are a quarter apart.
        let most = KEYS * (value_len as u64 * 5 / 4 + 8);
        assert!(stats.record_bytes - bare <= most, "{value_len}");
    }
}

/// Fails where mimalloc is not built as `.cargo/config.toml` says.
#[test]
fn records_take_multiples_of_eight_bytes() {
    let bytes = [0, 8, 16].map(|value_len| of_length(value_len).record_bytes);
    assert_eq!(bytes[1] - bytes[0], 8 * KEYS, "from 32 to 40 bytes");
    assert_eq!(bytes[2] - bytes[1], 8 * KEYS, "from 40 to 48 bytes");
}
