//! Goal: damage of many bytes is refused by every reader, naming file, part and cause; no reader panics, and
//! none takes more memory than is stated below.
//! Method: backups of several kinds, larger than the one whose every bit is flipped; files are overwritten,
//! cut, shifted and mixed at random, at first as an accident leaves them, then as a forger does, who makes
//! every checksum right. The program's allocator counts.
//!
//! `ci/damage.sh N` does N damages of each sort (`WHIMBREL_DAMAGES`); without it there are few.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../../backup/tests/common/mod.rs"]
mod common;
#[path = "../counting/mod.rs"]
mod counting;
mod damage;

use std::fs;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use damage::{Layout, Random, damage, file_crc};
use whimbrel_backup::block::{BlockOptions, Compression};
use whimbrel_backup::manifest::{FileRecord, MANIFEST, Manifest, StoreRecord};
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::storage::Directory;
use whimbrel_backup::{Part, Work, verify_with};
use whimbrel_mvcc::Clock;
use whimbrel_recovery::{BackupView, Error, RestoreOptions, ViewOptions, restore};

/// Bytes of memory that a reader takes at most, besides what it gives out: the bound of docs/format.md.
/// `manifest`, `index` and `block` are the bytes of the manifest, of the longest index and of the longest
/// stored block.
fn bound(manifest: usize, index: usize, block: usize) -> usize {
    64 * manifest + 8 * index + 257 * block + (1 << 20)
}

/// Tests count what the process allocates: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Sample {
    dir: tempfile::TempDir,
    files: Vec<File>,
}

struct File {
    name: String,
    good: Vec<u8>,
    /// None for the manifest.
    layout: Option<Layout>,
}

impl Sample {
    fn new(entries: &common::Entries, changes: usize, options: BlockOptions) -> Self {
        let dir = common::fast_dir();
        write(dir.path(), entries, changes, options);
        let files = common::files(dir.path())
            .into_iter()
            .map(|(name, good)| {
                let layout = (name != MANIFEST).then(|| Layout::of(&good));
                File { name, good, layout }
            })
            .collect();
        Self { dir, files }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Puts a forged file in place, and a manifest that states its checksum.
    fn put_forged(&self, file: &File, bad: &[u8]) {
        self.put(&file.name, bad);
        let text = String::from_utf8(self.manifest().good.clone()).unwrap();
        let crc = |bytes: &[u8]| format!("\"crc32c\": \"{:08x}\"", file_crc(bytes));
        let body = text.replace(&crc(&file.good), &crc(bad));
        let body = body.split_at(body.len() - 23).0;
        let manifest =
            format!("{body}\"crc32c\": \"{:08x}\"\n}}\n", crc32c::crc32c(body.as_bytes()));
        self.put(MANIFEST, manifest.as_bytes());
    }

    fn manifest(&self) -> &File {
        self.files.iter().find(|file| file.layout.is_none()).unwrap()
    }

    fn bound(&self) -> usize {
        let layouts = || self.files.iter().filter_map(|file| file.layout.as_ref());
        let index = layouts().map(|layout| layout.index.len()).max().unwrap_or(0);
        let block = layouts().map(Layout::longest_block).max().unwrap_or(0);
        bound(self.manifest().good.len(), index, block)
    }
}

/// Two shards, and a delta that changes and removes, if there are to be changes.
fn write(dir: &Path, entries: &common::Entries, changes: usize, options: BlockOptions) {
    let storage = Directory::create(dir).unwrap();
    let backup = BackupWriter::begin(&storage, common::ID).unwrap();
    let mut manifest = Manifest::new(backup.id(), 0, 1);
    let all: Vec<_> = entries.iter().collect();
    let shard = |number: u32, entries: &[(&Vec<u8>, &Vec<u8>)]| {
        let mut writer = backup.shard(0, number, options).unwrap();
        entries.iter().for_each(|(key, value)| writer.push(key, value).unwrap());
        backup.finish_shard(writer).unwrap()
    };
    let (a, b) = all.split_at(all.len() / 3);
    let shards = vec![shard(0, a), shard(1, b)];
    let mut last = entries.clone();
    let mut delta = (changes > 0).then(|| backup.delta(0, 0, options).unwrap());
    for (number, (key, value)) in entries.iter().take(changes).enumerate() {
        let delta = delta.as_mut().unwrap();
        if number % 2 == 0 {
            delta.put(key, &value[..value.len() / 2]).unwrap();
            last.insert(key.clone(), value[..value.len() / 2].to_vec());
        } else {
            delta.remove(key).unwrap();
            last.remove(key);
        }
    }
    let delta = delta.map(|delta| backup.finish_delta(delta).unwrap());
    let deltas: Vec<FileRecord> = delta.into_iter().collect();
    let digest = common::tally(&last).digest;
    manifest.stores = vec![StoreRecord {
        name: "s".to_owned(),
        entries: digest.count,
        digest: digest.sum,
        shards,
        gc_deltas: Vec::new(),
        deltas,
    }];
    manifest.user = serde_json::json!({ "resume": [1, 2, 3] });
    backup.publish(&manifest).unwrap();
}

fn without_compression() -> BlockOptions {
    BlockOptions::default().with_block_bytes(4000).with_compression(Compression::None)
}

fn samples() -> Vec<Sample> {
    let mut random = Random(1);
    let mut noise = |len: usize| -> Vec<u8> { (0..len).map(|_| random.byte()).collect() };
    let keys = (0..6000).map(|_| (noise(16), b"whimbrel".to_vec())).collect();
    let names = (0..2000_u32)
        .map(|n| (format!("usr/share/doc/package-{}/file-{n:04}", n / 50).into_bytes(), vec![]))
        .collect();
    let long = (0..12_u8)
        .map(|n| {
            let value = if n % 2 == 0 { vec![n; 60_000] } else { noise(20_000) };
            (format!("value/{n:02}").into_bytes(), value)
        })
        .collect();
    let default = BlockOptions::default();
    vec![
        Sample::new(&keys, 500, default),
        Sample::new(&names, 300, default.with_block_bytes(700).with_restart_interval(5)),
        Sample::new(&names, 300, without_compression()),
        Sample::new(&long, 4, default),
        // In one layer, of which scans have a way of their own.
        Sample::new(&keys, 0, default),
        Sample::new(&names, 0, without_compression()),
    ]
}

fn verify(dir: &Path) -> Result<(), Error> {
    verify_with(dir, &Work::default().with_threads(1))?;
    Ok(())
}

fn restored(dir: &Path) -> Result<(), Error> {
    let options = RestoreOptions::default().with_work(Work::default().with_threads(1));
    restore(dir, &Clock::new(), &options)?;
    Ok(())
}

/// Reads everything in order, then a key of each file again.
fn viewed(dir: &Path) -> Result<(), Error> {
    let view = BackupView::open_with(dir, &ViewOptions::default().with_cache_bytes(1 << 16))?;
    for store in view.stores() {
        let mut cursor = store.range(..);
        while cursor.next_entry()?.is_some() {}
    }
    read_last_keys(&view)
}

/// The same by scans.
fn scanned(dir: &Path) -> Result<(), Error> {
    let view = BackupView::open_with(dir, &ViewOptions::default().with_cache_bytes(1 << 16))?;
    for store in view.stores() {
        store.scan(.., |_, _| ControlFlow::Continue(()))?;
    }
    read_last_keys(&view)
}

fn read_last_keys(view: &BackupView) -> Result<(), Error> {
    for (_, _, record) in view.manifest().files() {
        view.store("s")?.get(&record.last_key)?;
    }
    Ok(())
}

type Check = fn(&Path) -> Result<(), Error>;

const CHECKS: [(&str, Check); 4] =
    [("verify", verify), ("restore", restored), ("view", viewed), ("scan", scanned)];

/// Runs one reader; a panic and too much memory end the test with a message that names the damage.
fn run(sample: &Sample, (name, check): (&str, Check), what: &str) -> Result<(), Error> {
    let run = || catch_unwind(AssertUnwindSafe(|| check(sample.path())));
    let (most, result) = counting::most_during(run);
    let Ok(result) = result else { panic!("{name} panicked: {what}") };
    let bound = sample.bound();
    assert!(most <= bound, "{name} took {most} bytes of at most {bound}: {what}");
    result
}

fn damages() -> u64 {
    let told = std::env::var("WHIMBREL_DAMAGES").ok().and_then(|text| text.parse().ok());
    told.unwrap_or(600)
}

#[test]
fn random_damage_is_refused_naming_file_part_and_cause() {
    let _alone = ALONE.lock();
    let samples = samples();
    for sample in &samples {
        for check in CHECKS {
            run(sample, check, "nothing is damaged").unwrap();
        }
    }
    let mut done = 0;
    for seed in 0.. {
        if done == damages() {
            break;
        }
        let mut random = Random(seed);
        let sample = &samples[random.below(samples.len())];
        let file = &sample.files[random.below(sample.files.len())];
        let other = &sample.files[random.below(sample.files.len())].good;
        let mut bad = file.good.clone();
        let kind = damage(&mut bad, other, &mut random);
        if bad == file.good {
            continue;
        }
        done += 1;
        let what = format!("seed {seed}, {}: {kind}", file.name);
        sample.put(&file.name, &bad);
        for check in CHECKS {
            let error = run(sample, check, &what).expect_err(&what);
            assert!(error.is_corruption(), "{what}: {error}");
            let place = error.place().expect("a place is named");
            assert_eq!(place.file(), file.name, "{what}: {error}");
            let part = match &file.layout {
                Some(layout) if bad.len() == file.good.len() => {
                    layout.first_damaged(&file.good, &bad)
                }
                _ => Part::Whole.to_string(),
            };
            assert_eq!(place.part().to_string(), part, "{what}: {error}");
        }
        sample.put(&file.name, &file.good);
    }
    for sample in &samples {
        CHECKS.into_iter().for_each(|check| run(sample, check, "whole again").unwrap());
    }
}

/// With right checksums only digests, counts and the rules of the format are left. `verify` and `restore`
/// compare digests, so what they accept is what was written; a view speaks for single blocks.
#[test]
fn random_damage_with_right_checksums_makes_no_reader_panic_or_take_memory() {
    let _alone = ALONE.lock();
    let samples = samples();
    let (mut refused, mut accepted) = (0_u64, 0_u64);
    for seed in 0..damages() {
        let mut random = Random(seed);
        let sample = &samples[random.below(samples.len())];
        let shards: Vec<_> = sample.files.iter().filter(|file| file.layout.is_some()).collect();
        let file = shards[random.below(shards.len())];
        let layout = file.layout.as_ref().unwrap();
        let mut bad = file.good.clone();
        let what = format!("seed {seed}, {}: {}", file.name, forge(&mut bad, layout, &mut random));
        sample.put_forged(file, &bad);
        for check in CHECKS {
            match run(sample, check, &what) {
                Ok(()) => accepted += 1,
                Err(error) => {
                    let newer = matches!(
                        error,
                        Error::Backup(whimbrel_backup::Error::UnsupportedVersion { .. })
                    );
                    assert!(error.is_corruption() || newer, "{what}: {error}");
                    refused += 1;
                }
            }
        }
        sample.put(&file.name, &file.good);
        sample.put(MANIFEST, &sample.manifest().good);
    }
    assert!(refused > 10 * accepted, "{refused} refused, {accepted} accepted");
}

/// Changes a few bytes inside of one block, index or footer, and all checksums.
fn forge(bad: &mut [u8], layout: &Layout, random: &mut Random) -> &'static str {
    let block = layout.blocks[random.below(layout.blocks.len())].clone();
    let (range, what) = match random.below(4) {
        0 => (block.start + 4..block.start + 24, "header of a block"),
        1 => (layout.index.clone(), "index"),
        2 => (layout.index.end..layout.index.end + 56, "footer"),
        _ => (block.start + 32..block.end, "stored bytes of a block"),
    };
    for _ in 0..1 + random.below(3) {
        bad[range.start + random.below(range.len())] = random.byte();
    }
    layout.forge(bad);
    what
}

/// Every checksum is right, and so is the order in each block.
#[test]
fn a_block_that_reaches_into_the_next_is_refused() {
    let _alone = ALONE.lock();
    for sample in samples().iter().filter(|sample| sample.files.len() == 3) {
        let file = sample.files.iter().find(|file| file.name == "shard-0001").unwrap();
        let layout = file.layout.as_ref().unwrap();
        let block = &layout.blocks[0];
        if file.good[block.start + 6] != 0 {
            // It is compressed: its last key cannot be changed that easily.
            continue;
        }
        // The last byte before the restart points is the end of the last key, as there are no values.
        let restarts = &file.good[block.start + 20..block.start + 24];
        let restarts = u32::from_le_bytes(restarts.try_into().unwrap()) as usize;
        let mut bad = file.good.clone();
        bad[block.end - 4 * restarts - 1] = 0xff;
        layout.forge(&mut bad);
        sample.put_forged(file, &bad);
        for (name, check) in CHECKS {
            let error = check(sample.path()).expect_err(name);
            assert!(error.to_string().contains("does not come after"), "{name}: {error}");
            assert_eq!(error.place().map(|place| place.file()), Some("shard-0001"), "{name}");
        }
        return;
    }
    panic!("no sample fits");
}

/// The worst that a forger can do: much in little. Each of these is refused, or read within the bound.
#[test]
fn bombs_stay_within_the_bound() {
    let _alone = ALONE.lock();
    // A small block whose entries share 65,000 bytes of their keys, which are more than a gigabyte together.
    let mut builder = whimbrel_backup::block::BlockBuilder::new(
        whimbrel_backup::block::BlockKind::Entries,
        BlockOptions::default().with_block_bytes(1 << 20).with_restart_interval(u32::MAX),
    );
    let mut key = vec![b'k'; 65_000];
    builder.add(&key, b"").unwrap();
    for n in 0..20_000_u32 {
        key.truncate(65_000);
        key.extend_from_slice(&n.to_be_bytes());
        if !builder.fits(key.len(), 0) {
            break;
        }
        builder.add(&key, b"").unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish_into(&mut bytes).unwrap();
    let limit = 1 << 20;
    let (most, refused) = counting::most_during(|| {
        let mut rebuild = whimbrel_recovery::Rebuild::new(whimbrel_mvcc::KeyRange::all())
            .with_most_raw_bytes(limit);
        rebuild.push_block(&bytes, whimbrel_backup::Place::block("bomb", 0))
    });
    let error = refused.expect_err("more than was announced");
    assert!(error.to_string().contains("bytes in keys and values"), "{error}");
    assert!(most <= bound(0, 0, bytes.len()), "{most}");
    // A manifest whose user data is a list of small things.
    let sample = &samples()[1];
    let mut manifest = Manifest::decode(&sample.manifest().good).unwrap();
    manifest.user = serde_json::Value::Array(vec![serde_json::Value::from(0); 200_000]);
    let text = String::from_utf8(manifest.encode().unwrap()).unwrap();
    let body = text.split_at(text.len() - 23).0.replace("\n    0", "0");
    let small = format!("{body}\"crc32c\": \"{:08x}\"\n}}\n", crc32c::crc32c(body.as_bytes()));
    assert!(small.len() < 500_000, "two bytes each");
    sample.put(MANIFEST, small.as_bytes());
    for (name, check) in CHECKS {
        let (most, result) = counting::most_during(|| check(sample.path()));
        result.unwrap();
        assert!(most <= bound(small.len(), 100_000, 100_000), "{name}: {most}");
    }
}
