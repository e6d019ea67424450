//! Where a block above level 0 takes the order hints of its keys from.
//!
//! Most take the 16 bits behind what all keys of the range share. That tells little where a range goes
//! over the end of a field: keys of two tenants differ in one bit, and then a tenant's keys share all up
//! to the number of the user. Such a block passes over the bits in which nearly all of its keys agree, the
//! *gap*: a hint is some first bits and then those behind the gap.
//!
//! ```text
//! key    | shared by the range | first | gap: as in most keys | rest ..
//! hint                         | first |                      | rest |   16 bits
//! ```
//!
//! Where a range has no end on one side, so that nothing is shared by all of it, a prefix that the block's keys
//! share is passed over in the same way before that.
//!
//! In place of the rest stand zeros for a key that has less than the others in the gap, and ones for one
//! that has more. So hints never decrease from a smaller key to a greater one, whatever the keys.

use std::cmp::Ordering;

use super::hint::{head, order_hint, shared_bytes};
use super::raw::MOST_SORTED;

/// Bits of a key that are looked at.
const WIDTH: u32 = 128;

/// The longest gap: a whole hint is within what is looked at.
const LONGEST: u32 = 104;

/// Bits of a hint.
const HINT: u32 = u16::BITS;

/// What a block passes over in the hints of its keys. Fixed before the block is published.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// What the gap holds in most keys: upper and lower half.
    gap: [u64; 2],
    /// So many bytes all words in order share, where their range shares less and a gap is not enough.
    prefix: u16,
    /// Bits of a hint that come before the gap.
    first: u8,
    /// Bits of the gap; none in most blocks.
    len: u8,
}

impl Window {
    /// Without a gap.
    pub(super) const PLAIN: Self = Self { gap: [0; 2], prefix: 0, first: 0, len: 0 };

    /// The window for ascending keys of a range whose keys share so many bits.
    pub(super) fn choose(keys: &[&[u8]], shared: u32) -> Self {
        if cfg!(whimbrel_loom) {
            return Self::PLAIN;
        }
        if let Some(window) = Self::behind(keys, shared) {
            return window;
        }
        // A range without an end on one side shares nothing, but the keys do.
        let prefix = shared_bytes(keys[0], keys[keys.len() - 1]);
        match u16::try_from(prefix) {
            Ok(prefix) if u32::from(prefix) * 8 > shared => {
                let window = Self::behind(keys, u32::from(prefix) * 8);
                Self { prefix, ..window.unwrap_or(Self::PLAIN) }
            }
            _ => Self::PLAIN,
        }
    }

    /// The window for what follows so many bits: with a gap where the next 16 leave many keys equal. None
    /// where a gap would be too long, or leave too few bits.
    fn behind(keys: &[&[u8]], shared: u32) -> Option<Self> {
        let mut bits = [0; MOST_SORTED];
        for (place, key) in bits.iter_mut().zip(keys) {
            *place = wide(key, shared);
        }
        let bits = &bits[..keys.len()];
        let ties = || bits.windows(2).filter(|pair| (pair[0] ^ pair[1]) >> (WIDTH - HINT) == 0);
        if ties().count() * 4 <= bits.len() {
            return Some(Self::PLAIN);
        }
        let usual = ties().next()?[0];
        // Bits in which keys differ that have hints of others, and the first one in which any two differ.
        let varying = ties().flatten().fold(0, |varying, bits| varying | (bits ^ usual));
        let parted = bits.windows(2).fold(0, |parted, pair| {
            parted | ((1 << (WIDTH - 1)) >> (pair[0] ^ pair[1]).leading_zeros().min(WIDTH - 1))
        });
        Self::around(varying, parted, usual)
    }

    /// The window whose gap lies between the first 16 of these bits and the others.
    fn around(varying: u128, parted: u128, usual: u128) -> Option<Self> {
        let before = (varying | parted) >> (WIDTH - HINT);
        let first = (HINT - before.trailing_zeros().min(HINT)).max(1);
        let len = (varying << first).leading_zeros();
        let gap = (usual << first).checked_shr(WIDTH - len)?;
        let is_useful = first <= HINT - 4 && len <= LONGEST;
        is_useful.then_some(Self {
            prefix: 0,
            gap: [u64::try_from(gap >> 64).ok()?, u64::try_from(gap & u128::from(u64::MAX)).ok()?],
            first: u8::try_from(first).ok()?,
            len: u8::try_from(len).ok()?,
        })
    }

    /// Whether there is no gap and no prefix.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.len == 0 && self.prefix == 0
    }

    /// The hint of a key of a range whose keys share so many bits. `model` is the first of the words in
    /// order.
    pub(super) fn hint(&self, key: &[u8], mut shared: u32, model: &[u8]) -> u16 {
        let prefix = usize::from(self.prefix);
        if prefix > 0 {
            match key[..prefix.min(key.len())].cmp(&model[..prefix]) {
                Ordering::Less => return 0,
                Ordering::Equal => shared = u32::from(self.prefix) * 8,
                Ordering::Greater => return u16::MAX,
            }
        }
        if self.len == 0 {
            return order_hint(key, shared);
        }
        let (bits, first) = (wide(key, shared), u32::from(self.first));
        let behind = bits << first;
        let gap = behind >> (WIDTH - u32::from(self.len));
        let usual = (u128::from(self.gap[0]) << 64) | u128::from(self.gap[1]);
        let rest = match gap.cmp(&usual) {
            Ordering::Less => 0,
            Ordering::Equal => top16(behind << self.len),
            Ordering::Greater => u16::MAX,
        };
        (top16(bits) & !(u16::MAX >> first)) | (rest >> first)
    }
}

/// At least 121 bits of a key from bit `from` on as a number, zeros beyond its end.
#[inline]
fn wide(key: &[u8], from: u32) -> u128 {
    let byte = (from / 8) as usize;
    let (high, low) = (head(key, byte), head(key, byte + 8));
    ((u128::from(high) << 64) | u128::from(low)) << (from % 8)
}

#[inline]
fn top16(bits: u128) -> u16 {
    (bits >> (WIDTH - HINT)) as u16
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use super::super::hint::shared_bits;
    use super::{MOST_SORTED, Window};

    /// (tenant, user, number), and a byte that is the same in all between them.
    fn key(tenant: u64, user: u64, number: u8) -> Vec<u8> {
        let mut key = tenant.to_be_bytes().to_vec();
        key.push(b'u');
        key.extend_from_slice(&user.to_be_bytes());
        key.push(number);
        key
    }

    fn window(keys: &[Vec<u8>]) -> (Window, u32) {
        let shared = shared_bits(&keys[0], &keys[keys.len() - 1]);
        (Window::choose(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), shared), shared)
    }

    /// Keys of `tenants` tenants, the first of each cut short as anchors are.
    fn keys(first: u64, tenants: u64, step: u64) -> Vec<Vec<u8>> {
        let each = MOST_SORTED as u64 / tenants;
        (first..first + tenants)
            .flat_map(|tenant| {
                (0..each).map(move |at| match at {
                    0 => tenant.to_be_bytes().to_vec(),
                    _ => key(tenant, 5 + at * step, 0),
                })
            })
            .collect()
    }

    #[test]
    fn hints_tell_the_keys_of_some_tenants_apart() {
        for (first, tenants, step) in [(6, 2, 60), (255, 2, 7), (41, 3, 90), (1 << 12, 6, 1)] {
            let keys = keys(first, tenants, step);
            let (window, shared) = window(&keys);
            let mut hints: Vec<u16> =
                keys.iter().map(|key| window.hint(key, shared, &keys[0])).collect();
            assert!(!window.is_plain() && hints.is_sorted(), "{first} {tenants} {step}");
            hints.dedup();
            assert!(hints.len() * 5 > keys.len() * 4, "{first} {tenants} {step}: {}", hints.len());
        }
    }

    #[test]
    fn hints_rise_with_keys_that_are_not_of_the_block() {
        for (first, tenants, step) in [(6, 2, 60), (255, 2, 7), (41, 3, 90), (1 << 12, 6, 1)] {
            let of_block = keys(first, tenants, step);
            let (window, shared) = window(&of_block);
            let mut all = of_block.clone();
            for key in &of_block {
                for at in 0..key.len() {
                    for change in [1, 0x10, 0x80, 0xFF] {
                        let mut other = key.clone();
                        other[at] ^= change;
                        all.push(other.clone());
                        other.truncate(at + 1);
                        all.push(other);
                    }
                }
            }
            let (low, high) = (&of_block[0], &of_block[of_block.len() - 1]);
            all.retain(|key| low <= key && key <= high);
            all.sort();
            assert!(all.iter().map(|key| window.hint(key, shared, &of_block[0])).is_sorted());
        }
    }

    #[test]
    fn keys_of_an_open_range_are_told_apart() {
        let named = |key: Vec<u8>| [b"tenants/".to_vec(), key].concat();
        let keys: Vec<Vec<u8>> = keys(1000, 40, 9).into_iter().map(named).collect();
        let parts: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let window = Window::choose(&parts, 0);
        let hint = |key: &[u8]| window.hint(key, 0, &keys[0]);
        let mut hints: Vec<u16> = keys.iter().map(|key| hint(key)).collect();
        assert!(hints.is_sorted());
        hints.dedup();
        assert!(hints.len() * 10 > keys.len() * 9, "{}", hints.len());
        assert_eq!((hint(b""), hint(b"tenant"), hint(b"tenants0")), (0, 0, u16::MAX));
    }

    #[test]
    fn few_equal_hints_need_no_gap() {
        let keys: Vec<Vec<u8>> = (0..40_u64).map(|at| (at << 53).to_be_bytes().to_vec()).collect();
        assert!(window(&keys).0.is_plain());
        assert!(window(&[Vec::new()]).0.is_plain());
        assert!(window(&[vec![1; 99], vec![1; 100]]).0.is_plain());
    }
}
