//! Little-endian fields and variable-length integers, checked against the end of the slice.

/// Longest encoding of a `u32` in groups of seven bits.
pub(crate) const VARINT_MAX_LEN: usize = 5;

/// The `N` bytes at `at`, or `None` where the slice ends before.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads fields one after the other; every method answers `None` at the end of the bytes.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Appends `value`, seven bits a byte, low bits first.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Bytes that [`put_varint`] needs for `value`.
pub(crate) fn varint_len(value: u32) -> usize {
    let bits = 32 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads one integer at `*at` and moves `*at` behind it; `None` when it does not end or does not fit.
#[inline]
pub(crate) fn get_varint(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = 0_u64;
    for shift in 0..VARINT_MAX_LEN {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * shift);
        if byte < 0x80 {
            return u32::try_from(value).ok();
        }
    }
    None
}

/// The 32-bit length of something whose limit is far below 4 GiB.
///
/// # Panics
/// When the length does not fit: every caller has checked a smaller limit before.
#[inline]
pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("lengths are limited to 512 MiB before they get here")
}

/// Length of the longest common prefix.
#[inline]
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // Keys without a long prefix differ in their first bytes.
    if let (Some(a), Some(b)) = (a.first_chunk(), b.first_chunk())
        && a != b
    {
        let (a, b) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
        return (a ^ b).trailing_zeros() as usize / 8;
    }
    let chunks = a.chunks_exact(8).zip(b.chunks_exact(8));
    let mut same = 0;
    for (x, y) in chunks {
        let (x, y) = (word(x), word(y));
        if x != y {
            return same + (x ^ y).trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(x, y)| x == y).count()
}

#[inline]
fn word(chunk: &[u8]) -> u64 {
    u64::from_le_bytes(chunk.try_into().expect("chunks_exact(8) gives eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_have_the_length_foretold() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 28, u32::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            let mut at = 0;
            assert_eq!(get_varint(&out, &mut at), Some(value));
            assert_eq!(at, out.len());
        }
    }

    #[test]
    fn varints_that_do_not_end_or_do_not_fit_are_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 6], &[0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(get_varint(bytes, &mut 0), None);
        }
    }
}
