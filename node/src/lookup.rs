//! Looks entries up in a backup that is not loaded, and the way keys are written on the command line.

use whimbrel_backup::repository::Chain;
use whimbrel_recovery::{BackupView, ViewOptions};

use crate::Error;

/// An entry that was found; key and value as [`show`] writes them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Name of its store.
    pub store: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The entry of one key.
    Key(Vec<u8>),
    /// All entries whose keys begin so.
    Prefix(Vec<u8>),
}

/// Looks in one store of the newest backup of a chain, or in all of them in the manifest's order. Answers at most `limit`
/// entries, and whether there are more.
///
/// # Errors
///
/// [`Error::Recovery`] when the backup has no such store, or naming file and block of the first damage.
pub fn look_up(
    chain: Chain,
    store: Option<&str>,
    wanted: &Wanted,
    limit: usize,
) -> Result<(Vec<Found>, bool), Error> {
    let view = BackupView::of_chain(chain, &ViewOptions::default())?;
    let stores = match store {
        Some(name) => vec![view.store(name)?],
        None => view.stores().collect(),
    };
    let mut found = Vec::new();
    for store in stores {
        let mut take = |key: &[u8], value: &[u8]| {
            let store = store.name().to_owned();
            found.push(Found { store, key: show(key), value: show(value) });
            found.len() > limit
        };
        let full = match wanted {
            Wanted::Key(key) => store.get_with(key, |value| take(key, value))?.unwrap_or(false),
            Wanted::Prefix(prefix) => {
                let mut cursor = store.prefix(prefix);
                loop {
                    match cursor.next_entry()? {
                        Some((key, value)) if take(key, value) => break true,
                        Some(_) => {}
                        None => break false,
                    }
                }
            }
        };
        if full {
            found.truncate(limit);
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

/// Bytes as printable ASCII; the rest, and the backslash, as in Rust's byte strings: `\x00`, `\n`, `\\`.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The bytes that [`show`] has written. Text beyond ASCII stands for its UTF-8 bytes.
///
/// # Errors
///
/// What is wrong with an escape.
///
/// # Examples
///
/// ```
/// use whimbrel_node::lookup::{read_bytes, show};
/// assert_eq!(read_bytes("bird\\x00\\n")?, b"bird\x00\n");
/// assert_eq!(read_bytes(&show(&[0, 34, 92, 255]))?, [0, 34, 92, 255]);
/// assert!(read_bytes("\\q").is_err());
/// # Ok::<(), String>(())
/// ```
pub fn read_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(plain @ (b'\\' | b'\'' | b'"')) => plain,
            Some(b'x') => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit().zip(digit()).map(|(high, low)| 16 * high + low);
                let value = value.and_then(|value| u8::try_from(value).ok());
                value.ok_or_else(|| format!("`{text}`: \\x needs two hex digits"))?
            }
            _ => return Err(format!("`{text}`: after \\ comes one of \\ ' \" n r t xNN")),
        });
    }
    Ok(bytes)
}
