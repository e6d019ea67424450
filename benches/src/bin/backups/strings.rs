//! Names of the files in Debian's packages, as `apt-file update` has fetched them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where apt keeps its lists, and its own reader of them, whatever they are packed with.
const LISTS: &str = "/var/lib/apt/lists";
const READER: &str = "/usr/lib/apt/apt-helper";

/// Up to `most` names in ascending order, each once; none when this system has no lists.
pub(crate) fn names(most: usize) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    for list in lists() {
        read(&list, &mut names);
    }
    names.sort_unstable();
    names.dedup();
    names.truncate(most);
    names
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

/// A line is a name, blanks, and the packages that have it. A list that cannot be read gives no names.
fn read(list: &PathBuf, names: &mut Vec<Vec<u8>>) {
    let reader = Command::new(READER).arg("cat-file").arg(list).stdout(Stdio::piped()).spawn();
    let Ok(mut reader) = reader else { return };
    let lines = reader.stdout.take().map(|output| BufReader::new(output).split(b'\n'));
    for line in lines.into_iter().flatten().map_while(Result::ok) {
        let line = line.trim_ascii_end();
        let Some(end) = line.iter().rposition(u8::is_ascii_whitespace) else { continue };
        let name = line[..end].trim_ascii_end();
        if !name.is_empty() && name.len() <= 1024 {
            names.push(name.to_vec());
        }
    }
    let _ = reader.wait();
}
