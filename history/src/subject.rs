//! What the threads work on: the keys of a history in one or two stores of one clock.

use std::ops::ControlFlow;

use whimbrel_mvcc::{Clock, Hold, KeyRange, Snapshot, Store};

use crate::op::{ABSENT, Value};
use crate::rng::Rng;

/// The bytes that stand for a value. One in eight is too long to lie beside its key.
#[must_use]
pub fn value_of(value: Value) -> Vec<u8> {
    let long = value.wrapping_mul(0x9E37_79B9) >> 29 == 0;
    let mut bytes = value.to_be_bytes().to_vec();
    bytes.resize(if long { 300 } else { 4 + value as usize % 5 }, 0xA5);
    bytes
}

/// The value that these bytes stand for.
///
/// # Panics
///
/// When they stand for none: they were damaged.
#[must_use]
pub fn id_of(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return ABSENT };
    let id = bytes.first_chunk().map_or(ABSENT, |id| Value::from_be_bytes(*id));
    assert!(bytes == value_of(id), "a damaged value: {bytes:?}");
    id
}

/// Keys of a history, in stores of one clock.
#[derive(Debug, Clone)]
pub struct Subject {
    stores: Vec<Store>,
    prefix: Vec<u8>,
    keys: u16,
}

impl Subject {
    /// `keys` keys that begin with `prefix`, in turn in each of the stores, which share a clock and have
    /// no other keys with this prefix.
    ///
    /// # Panics
    ///
    /// Without a store.
    #[must_use]
    pub fn new(stores: Vec<Store>, prefix: &[u8], keys: u16) -> Self {
        assert!(!stores.is_empty(), "a store is needed");
        Self { stores, prefix: prefix.to_vec(), keys }
    }

    /// Number of keys.
    #[must_use]
    pub fn keys(&self) -> u16 {
        self.keys
    }

    /// The stores.
    #[must_use]
    pub fn stores(&self) -> &[Store] {
        &self.stores
    }

    pub(crate) fn clock(&self) -> &Clock {
        self.stores[0].clock()
    }

    pub(crate) fn store_of(&self, key: u16) -> &Store {
        &self.stores[usize::from(key) % self.stores.len()]
    }

    pub(crate) fn bytes_of(&self, key: u16) -> Vec<u8> {
        [&self.prefix[..], &key.to_be_bytes()].concat()
    }

    fn key_of(&self, bytes: &[u8]) -> u16 {
        let key = bytes.strip_prefix(&self.prefix[..]).and_then(|key| key.try_into().ok());
        u16::from_be_bytes(key.expect("a key of this history"))
    }

    fn range(&self) -> KeyRange {
        KeyRange::prefix(&self.prefix)
    }

    /// What a snapshot of this number shows, read in a way that is chosen at random.
    pub(crate) fn read_at(&self, hold: &Hold, rng: &mut Rng) -> Vec<Value> {
        let mut shown = vec![ABSENT; usize::from(self.keys)];
        for store in &self.stores {
            self.read_store(&store.snapshot_at(hold), rng, &mut shown);
        }
        shown
    }

    fn read_store(&self, snapshot: &Snapshot, rng: &mut Rng, shown: &mut [Value]) {
        let mut last = None;
        let mut note = |key: &[u8], value: &[u8], up: bool| {
            let at = self.key_of(key);
            let ordered = last.is_none_or(|last| if up { last < at } else { last > at });
            assert!(ordered, "key {at} comes out of order");
            last = Some(at);
            shown[usize::from(at)] = id_of(Some(value));
        };
        match rng.below(6) {
            0 => {
                let mut cursor = snapshot.prefix(&self.prefix);
                while let Some((key, value)) = cursor.next_entry() {
                    note(key, value, true);
                }
            }
            1 => {
                let mut cursor = snapshot.range(self.range()).rev();
                while let Some((key, value)) = cursor.next_entry() {
                    note(key, value, false);
                }
            }
            2 => snapshot.scan(self.range(), |key, value| {
                note(key, value, true);
                ControlFlow::Continue(())
            }),
            3 => snapshot.scan_back(self.range(), |key, value| {
                note(key, value, false);
                ControlFlow::Continue(())
            }),
            way => self.read_keys(snapshot, way == 4, shown),
        }
    }

    fn read_keys(&self, snapshot: &Snapshot, side_by_side: bool, shown: &mut [Value]) {
        let here = |key: &u16| self.store_of(*key).is(snapshot.store());
        let numbers: Vec<u16> = (0..self.keys).filter(here).collect();
        let keys: Vec<_> = numbers.iter().map(|key| self.bytes_of(*key)).collect();
        if side_by_side {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            snapshot.get_many_with(&keys, |at, value| {
                shown[usize::from(numbers[at])] = id_of(value);
            });
        } else {
            for (number, key) in numbers.iter().zip(&keys) {
                shown[usize::from(*number)] = id_of(snapshot.get(key).as_deref());
            }
        }
    }
}
