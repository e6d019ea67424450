//! Names of the files in Debian's packages, as its package tools have fetched them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::keys::MOST_KEY_BYTES;
use crate::random::Seeded;

/// Where apt keeps the lists that `apt-file update` fetches.
const LISTS: &str = "/var/lib/apt/lists";
/// apt's own reader of its lists, whatever they are compressed with.
const READER: &str = "/usr/lib/apt/apt-helper";

/// Writes `count` names in random order to a file, one a line. False when this system has no lists
/// or too few names in them.
///
/// # Errors
///
/// When lists are there and cannot be read, or the file cannot be written.
pub fn write_names(to: &Path, count: usize, seed: u64) -> anyhow::Result<bool> {
    let lists = lists();
    let mut names = BTreeSet::new();
    for list in &lists {
        read(list, &mut names)?;
    }
    if names.len() < count {
        return Ok(false);
    }
    let names: Vec<Box<[u8]>> = names.into_iter().collect();
    let mut output = BufWriter::new(std::fs::File::create(to)?);
    for at in &Seeded::new(seed).order(names.len())[..count] {
        output.write_all(&names[*at as usize])?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(true)
}

fn lists() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(LISTS).into_iter().flatten().flatten();
    let mut lists: Vec<PathBuf> = folder
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("_Contents-"))
        .collect();
    lists.sort();
    lists
}

/// Reads one list: a name, blanks, the packages that have it.
fn read(list: &Path, names: &mut BTreeSet<Box<[u8]>>) -> anyhow::Result<()> {
    let mut reader = Command::new(READER)
        .arg("cat-file")
        .arg(list)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{READER} cat-file"))?;
    let output = reader.stdout.take().context("the output of apt-helper")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        if let Some(name) = name_of(&line) {
            names.insert(name.into());
        }
    }
    let status = reader.wait()?;
    ensure!(status.success(), "{READER} cat-file {} failed", list.display());
    Ok(())
}

/// The name in a line of a list.
#[must_use]
pub fn name_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii_end();
    let end = line.iter().rposition(u8::is_ascii_whitespace)?;
    let name = line[..end].trim_ascii_end();
    (!name.is_empty() && name.len() <= MOST_KEY_BYTES).then_some(name)
}
