//! Goal: an incremental backup that compares with the files of its chain writes what changed and nothing else,
//! however much later files have in the range of one block.
//! Method: a store of many blocks; large values in one gap between two keys, more in all than is kept at once,
//! that come, change and go, beside single changes and long runs of removed keys; each backup is restored and
//! compared with its snapshot, and the counts with what was done.

mod world;

use std::collections::BTreeMap;

use whimbrel_backup::repository::Kind;
use world::World;

const ENTRIES: u32 = 30_000;
const LARGE: usize = 70_000;

fn small(n: u32) -> Vec<u8> {
    format!("{:06}/small", n * 7).into_bytes()
}

/// All of them lie between two neighbours.
fn large(n: u32) -> Vec<u8> {
    format!("{:06}/small/{n:04}", 7 * 4321).into_bytes()
}

struct Case {
    world: World,
    /// What the newest backup shows.
    before: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Case {
    fn put(&self, key: Vec<u8>, value: &[u8]) {
        self.world.store("a").put(&key, value).expect("they are short");
    }

    fn remove(&self, key: &[u8]) {
        self.world.store("a").remove(key).expect("it is short");
    }

    /// Backs up, and compares what was written with what has changed.
    fn back_up(&mut self) {
        let report = self.world.back_up(Kind::Incremental);
        assert_eq!(report.stores.compared, 1);
        let now = world::content(&self.world.store("a").snapshot());
        let puts = now.iter().filter(|(key, value)| self.before.get(*key) != Some(value)).count();
        let removes = self.before.keys().filter(|key| !now.contains_key(*key)).count();
        assert_eq!((report.puts, report.removes), (puts as u64, removes as u64));
        assert_eq!(report.entries, now.len() as u64);
        self.before = now;
    }
}

#[test]
fn what_changed_is_written_and_nothing_else() {
    let mut world = World::new(&["a"], None);
    for n in 0..ENTRIES {
        world.store("a").put(small(n), n.to_le_bytes()).expect("they are short");
    }
    world.back_up(Kind::Full);
    let before = world::content(&world.store("a").snapshot());
    let mut case = Case { world, before };
    case.back_up();

    // New values that fill one gap, single changes, and a run of removed keys over several blocks.
    (0..60).for_each(|n| case.put(large(n), &[1; LARGE]));
    (0..ENTRIES).step_by(97).for_each(|n| case.put(small(n), b"changed"));
    (12_000..24_000).for_each(|n| case.remove(&small(n)));
    case.remove(&small(0));
    case.remove(&small(ENTRIES - 1));
    case.back_up();
    case.back_up();

    // The same gap again, which later files fill now; some of what was removed comes back.
    (0..60).step_by(2).for_each(|n| case.put(large(n), &[2; LARGE]));
    (0..60).step_by(3).for_each(|n| case.remove(&large(n)));
    (60..90).for_each(|n| case.put(large(n), &[3; LARGE]));
    (15_000..16_000).for_each(|n| case.put(small(n), b"back"));
    case.put(b"".to_vec(), b"first");
    case.put(b"~".to_vec(), b"last");
    case.back_up();

    // All of it but one key goes, and the next backup finds nothing to do.
    (0..90).for_each(|n| case.remove(&large(n)));
    (0..ENTRIES).filter(|n| *n != 20_000).for_each(|n| case.remove(&small(n)));
    case.put(small(20_000), b"alone");
    case.remove(b"");
    case.back_up();
    case.back_up();
    case.world.check_all();
}
