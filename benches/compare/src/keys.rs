//! Keys: what a child inserts, looks up and misses, made from a seed.
//!
//! Keys lie one behind another in memory, each list in the order in which a workload uses it, so
//! that reading a key costs no cache miss and what is measured is the peer.

use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::random::{Seeded, mix};

/// Shape of the keys.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum KeyKind {
    /// 16 random bytes.
    Random16,
    /// 32 bytes: one of 500 tenants, one of 2,000 users, a number. Long common prefixes.
    Structured32,
    /// Names of the files in Debian's packages, or a generated stand-in that says that it is one.
    Paths,
}

impl KeyKind {
    /// Length of every key; none when they differ.
    #[must_use]
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Random16 => Some(16),
            Self::Structured32 => Some(32),
            Self::Paths => None,
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random16 => "random16",
            Self::Structured32 => "structured32",
            Self::Paths => "paths",
        }
    }
}

/// Longest key that is used: LMDB takes 511 bytes.
pub const MOST_KEY_BYTES: usize = 500;

/// Where each key ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ends {
    All(usize),
    Each(Vec<u32>),
}

/// A list of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Ends,
}

impl Keys {
    fn with_capacity(kind: KeyKind, count: usize) -> Self {
        match kind.width() {
            Some(width) => {
                Self { bytes: Vec::with_capacity(count * width), ends: Ends::All(width) }
            }
            None => Self { bytes: Vec::new(), ends: Ends::Each(Vec::with_capacity(count)) },
        }
    }

    fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        match &mut self.ends {
            Ends::All(width) => assert_eq!(key.len(), *width, "keys of one length"),
            Ends::Each(ends) => {
                ends.push(u32::try_from(self.bytes.len()).expect("below 4 GiB of keys"));
            }
        }
    }

    /// The entries that [`Input::new`] makes, in ascending order, and nothing else: a file of names needs no more
    /// than `count` lines.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has fewer than `count` lines.
    pub fn ascending(
        kind: KeyKind,
        count: usize,
        seed: u64,
        paths: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut keys = Self::with_capacity(kind, count);
        make(kind, count, seed, paths, |key| keys.push(key))?;
        Ok(keys.sorted())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.ends {
            Ends::All(width) => self.bytes.len() / width,
            Ends::Each(ends) => ends.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key at a position.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn get(&self, at: usize) -> &[u8] {
        match &self.ends {
            Ends::All(width) => &self.bytes[at * width..(at + 1) * width],
            Ends::Each(ends) => {
                let begin = at.checked_sub(1).map_or(0, |before| ends[before]);
                &self.bytes[begin as usize..ends[at] as usize]
            }
        }
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// The same keys in another order.
    fn in_order(&self, order: &[u32]) -> Self {
        let ends = match &self.ends {
            Ends::All(width) => Ends::All(*width),
            Ends::Each(ends) => Ends::Each(Vec::with_capacity(ends.len())),
        };
        let mut keys = Self { bytes: Vec::with_capacity(self.bytes.len()), ends };
        for at in order {
            keys.push(self.get(*at as usize));
        }
        keys
    }

    /// The same keys in ascending order.
    ///
    /// # Panics
    ///
    /// When there are more than 32 bits can count.
    #[must_use]
    pub fn sorted(&self) -> Self {
        let mut keys = self.clone();
        match keys.ends {
            Ends::All(16) => keys.bytes.as_chunks_mut::<16>().0.sort_unstable(),
            Ends::All(32) => keys.bytes.as_chunks_mut::<32>().0.sort_unstable(),
            _ => {
                let count = u32::try_from(self.len()).expect("below 2^32 keys");
                let mut order: Vec<u32> = (0..count).collect();
                order.sort_unstable_by_key(|at| self.get(*at as usize));
                return self.in_order(&order);
            }
        }
        keys
    }
}

/// The keys of one child.
#[derive(Debug)]
pub struct Input {
    /// In the order of insertion, which is random.
    pub entries: Keys,
    /// The same, ascending.
    pub sorted: Keys,
    /// The same in another random order.
    pub shuffled: Keys,
    /// As many keys that are not among them, of the same shape.
    pub misses: Keys,
}

impl Input {
    /// Makes the keys of `seed`; those of `paths` are read from a file that [`crate::debian`]
    /// wrote, one a line, or made up when there is none.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has fewer than twice `count` lines.
    pub fn new(
        kind: KeyKind,
        count: usize,
        seed: u64,
        paths: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut entries = Keys::with_capacity(kind, count);
        let mut misses = Keys::with_capacity(kind, count);
        let add = |key: &[u8]| {
            let list = if entries.len() < count { &mut entries } else { &mut misses };
            list.push(key);
        };
        make(kind, 2 * count, seed, paths, add)?;
        let shuffled = entries.in_order(&Seeded::new(seed ^ 0x5EED).order(count));
        let sorted = entries.sorted();
        Ok(Self { entries, sorted, shuffled, misses })
    }
}

/// Makes `count` keys of a seed, or reads them.
fn make(
    kind: KeyKind,
    count: usize,
    seed: u64,
    paths: Option<&Path>,
    mut add: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    match paths {
        Some(file) if kind == KeyKind::Paths => read_lines(file, count, add),
        _ => {
            let mut random = Seeded::new(seed);
            for at in 0..count as u64 {
                add(&made_key(kind, at, seed, &mut random));
            }
            Ok(())
        }
    }
}

/// One generated key. The mixed number in it differs between any two keys of a seed.
fn made_key(kind: KeyKind, at: u64, seed: u64, random: &mut Seeded) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "share",
        "lib",
        "doc",
        "python3",
        "dist-packages",
        "locale",
        "icons",
        "include",
        "man",
        "examples",
        "fonts",
        "perl5",
        "games",
        "modules",
        "themes",
        "help",
    ];
    let number = mix(seed.wrapping_add(at));
    let mut key = Vec::with_capacity(64);
    match kind {
        KeyKind::Random16 => {
            key.extend_from_slice(&random.next_u64().to_be_bytes());
            key.extend_from_slice(&number.to_be_bytes());
        }
        KeyKind::Structured32 => {
            key.extend_from_slice(b"tenant");
            key.extend_from_slice(&(random.next_u64() % 500).to_be_bytes());
            key.push(b'u');
            key.extend_from_slice(&(random.next_u64() % 2000).to_be_bytes());
            key.push(b'/');
            key.extend_from_slice(&number.to_be_bytes());
        }
        KeyKind::Paths => {
            key.extend_from_slice(b"usr");
            for _ in 0..2 + random.below(4) {
                key.push(b'/');
                key.extend_from_slice(WORDS[random.below(WORDS.len())].as_bytes());
            }
            key.extend_from_slice(format!("/{number:x}.gz").as_bytes());
        }
    }
    key
}

fn read_lines(file: &Path, count: usize, mut add: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let input = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    let mut read = 0;
    for line in BufReader::new(input).split(b'\n').take(count) {
        add(&line.with_context(|| file.display().to_string())?);
        read += 1;
    }
    ensure!(read == count, "{} has {read} lines and {count} are wanted", file.display());
    Ok(())
}
