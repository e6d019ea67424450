//! Bytes and fixed-width numbers as hex digits in the manifest.

pub(crate) mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let digits = b"0123456789abcdef";
        let mut hex = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            hex.push(char::from(digits[usize::from(byte >> 4)]));
            hex.push(char::from(digits[usize::from(byte & 15)]));
        }
        to.serialize_str(&hex)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let hex = String::deserialize(from)?;
        let mut bytes = Vec::with_capacity(hex.len() / 2);
        for pair in hex.as_bytes().chunks(2) {
            let byte = match pair {
                [high, low] => nibble(*high).zip(nibble(*low)),
                _ => None,
            };
            let (high, low) = byte.ok_or_else(|| D::Error::custom("not lower-case hex digits"))?;
            bytes.push(high << 4 | low);
        }
        Ok(bytes)
    }

    fn nibble(digit: u8) -> Option<u8> {
        match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }
}

/// Fixed-width numbers as hex digits: JSON's own numbers lose bits above 2^53 in many readers.
macro_rules! hex_number {
    ($module:ident, $number:ty, $to:expr, $from:expr) => {
        pub(crate) mod $module {
            use serde::{Deserializer, Serializer, de::Error};

            pub(crate) fn serialize<S: Serializer>(n: &$number, to: S) -> Result<S::Ok, S::Error> {
                let bytes: &[u8] = &$to(*n);
                super::hex_bytes::serialize(bytes, to)
            }

            pub(crate) fn deserialize<'de, D>(from: D) -> Result<$number, D::Error>
            where
                D: Deserializer<'de>,
            {
                let bytes = super::hex_bytes::deserialize(from)?;
                let bytes = bytes.try_into();
                bytes.map($from).map_err(|_| D::Error::custom("wrong number of hex digits"))
            }
        }
    };
}

hex_number!(hex_u64, u64, u64::to_be_bytes, u64::from_be_bytes);
hex_number!(hex_u32, u32, u32::to_be_bytes, u32::from_be_bytes);
hex_number!(hex_id, crate::file::BackupId, |id: crate::file::BackupId| id.0, crate::file::BackupId);
