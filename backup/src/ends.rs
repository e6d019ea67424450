//! Header and footer of a file, which say what it is and lead to every other byte.

use crate::Error;
use crate::error::Place;
use crate::file::{FOOTER_LEN, FileIdentity, FileKind, Footer, HEADER_LEN};
use crate::reader::{Source, read};

/// The two ends of a file, checked; nothing between them was looked at.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) identity: FileIdentity,
    pub(crate) footer: Footer,
    pub(crate) crc: u32,
}

impl Ends {
    /// Reads header and footer of a file that must be of `kind`.
    pub(crate) fn read<S: Source>(
        source: &S,
        kind: FileKind,
        place: &Place,
    ) -> Result<Self, Error> {
        let (least, len) = ((HEADER_LEN + FOOTER_LEN) as u64, source.len());
        if len < least {
            return Err(Error::WrongLength { place: place.clone(), expected: least, got: len });
        }
        let mut scratch = Vec::new();
        let header = read(source, 0, HEADER_LEN, &mut scratch, place)?.to_vec();
        let identity = FileIdentity::decode(&header, kind, place)?;
        let footer_at = len - FOOTER_LEN as u64;
        let bytes = read(source, footer_at, FOOTER_LEN, &mut scratch, place)?;
        let footer = Footer::decode(&header, bytes, place)?;
        let crc = crate::bytes::array(bytes, 68).map_or(0, u32::from_le_bytes);
        Ok(Self { identity, footer, crc })
    }
}
