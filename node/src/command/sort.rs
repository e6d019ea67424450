//! `whimbrel sort`: lines of text in any order become a sorted file, to be ingested.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use whimbrel_backup::sorted::SortedFileWriter;
use whimbrel_recovery::{SortOptions, Sorter};

use crate::Error;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;

/// Longest line in bytes: a key and a value of the longest, each byte written as four.
const MAX_LINE: u64 = 4 * (65_535 + (512 << 20)) + 2;

/// Arguments of `whimbrel sort`.
#[derive(Args, Debug)]
pub struct SortArgs {
    /// Lines `key<TAB>value`; a line without a tab removes its key. `\t`, `\n`, `\r`, `\\` and `\xNN` stand for
    /// bytes. Of several lines with one key the last counts
    #[arg(value_name = "INPUT", default_value = "-")]
    pub input: PathBuf,
    /// The sorted file: a new one
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Entries to keep in memory, in MiB; what is above that is sorted by way of temporary files
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub memory: usize,
    /// Where temporary files go [default: the system's place for them]
    #[arg(long, value_name = "DIR")]
    pub temporary: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Sorts and writes; the file is there as a whole or not at all.
///
/// # Errors
///
/// [`Error::Csv`] naming a line that cannot be used, [`Error::File`] when the input cannot be read,
/// [`Error::Recovery`] and [`Error::Backup`] when files cannot be written.
pub fn run(args: SortArgs) -> Result<(), Error> {
    let interrupt = Interrupt::install()?;
    let file = SortedFileWriter::create(&args.to)?;
    let bar = BackupBar::new("sort");
    let mut options = SortOptions::default()
        .with_work(bar.work(&interrupt))
        .with_max_memory(args.memory.saturating_mul(1 << 20));
    if let Some(directory) = &args.temporary {
        options = options.with_directory(directory);
    }
    let mut sorter = Sorter::new(options);
    let filled = read(&args.input, &mut sorter, &interrupt);
    let report = filled.and_then(|()| Ok(sorter.into_file(file)?));
    bar.finish();
    let report = report?;
    if args.json {
        let report = json!({
            "lines": report.came,
            "entries": report.entries,
            "runs": report.runs,
            "seconds": report.seconds,
            "file": args.to,
        });
        println!("{report}");
    } else {
        println!(
            "{}: {} entries of {} lines, {} temporary files, {:.2} s",
            args.to.display(),
            report.entries,
            report.came,
            report.runs,
            report.seconds,
        );
    }
    Ok(())
}

fn read(path: &Path, sorter: &mut Sorter, interrupt: &Interrupt) -> Result<(), Error> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut from = BufReader::new(from);
    let (mut bytes, mut number) = (Vec::new(), 0);
    loop {
        bytes.clear();
        number += 1;
        let len = (&mut from).take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(failed)?;
        if len == 0 {
            return Ok(());
        }
        if interrupt.is_raised() {
            return Err(Error::Interrupted { left: "nothing was written".to_owned() });
        }
        let bad = |what: String| Error::Csv { path: path.to_owned(), line: number, what };
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let (key, value) = match line.iter().position(|byte| *byte == b'\t') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        let key = unescape(key).map_err(bad)?;
        match value {
            Some(value) => sorter.put(&key, &unescape(value).map_err(bad)?)?,
            None => sorter.remove(&key)?,
        }
    }
}

/// The bytes that a field stands for.
fn unescape(field: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let number = digit(rest.next()).zip(digit(rest.next()));
                let number = number.and_then(|(high, low)| u8::try_from(16 * high + low).ok());
                number.ok_or("\\x is not followed by two hexadecimal digits")?
            }
            _ => return Err("a backslash is followed by none of t, n, r, x, \\".to_owned()),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_stand_for_bytes_and_others_are_refused() {
        assert_eq!(unescape(br"a\tb\\\x00\xfF\n\r"), Ok(b"a\tb\\\0\xff\n\r".to_vec()));
        for bad in [&br"\"[..], br"\q", br"\x1", br"\xg0", br"\x"] {
            unescape(bad).unwrap_err();
        }
    }
}
