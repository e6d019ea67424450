//! The places where `SCAN`s will continue.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use whimbrel_migrate::Slot;

/// How many cursors a node remembers; with keys of 64 KiB at most, that bounds their memory.
pub(crate) const CURSORS_MAX: usize = 1024;

/// Bits of a cursor that hold its ticket; the slot's number stands above them.
const TICKET_BITS: u32 = 40;

/// Tickets of unfinished scans and the last key that each has seen.
///
/// A cursor is `slot << 40 | ticket`. Ticket 0 is the beginning of the slot, so cursor 0 is the
/// beginning of everything, and no remembered cursor is 0.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The ticket of the newest entry.
    newest: u64,
    /// Last keys, newest at the back; the ticket of the front is `newest + 1 - len`.
    keys: VecDeque<Vec<u8>>,
}

impl Cursors {
    /// Remembers that a scan of `slot` has seen everything up to `key`; gives its cursor.
    pub(crate) fn remember(&self, slot: Slot, key: Vec<u8>) -> u64 {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.keys.len() == CURSORS_MAX {
            table.keys.pop_front();
        }
        table.keys.push_back(key);
        table.newest = (table.newest + 1) & ((1 << TICKET_BITS) - 1);
        if table.newest == 0 {
            // After a million million cursors; those remembered start their slots again.
            let older = table.keys.len() - 1;
            table.keys.drain(..older);
            table.newest = 1;
        }
        u64::from(slot.number()) << TICKET_BITS | table.newest
    }

    /// The slot in which a cursor continues and the key after which it does; no key: at the
    /// slot's beginning. `None` for a cursor that nobody gave out.
    pub(crate) fn resolve(&self, cursor: u64) -> Option<(Slot, Option<Vec<u8>>)> {
        let slot = Slot::new(u16::try_from(cursor >> TICKET_BITS).ok()?)?;
        let ticket = cursor & ((1 << TICKET_BITS) - 1);
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let age = table.newest.checked_sub(ticket);
        let place = age.and_then(|age| {
            let back = usize::try_from(age).ok()?.checked_add(1)?;
            table.keys.len().checked_sub(back)
        });
        Some((slot, place.filter(|_| ticket != 0).map(|place| table.keys[place].clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_continues_where_it_stopped_until_it_is_dropped() {
        let cursors = Cursors::default();
        let slot = Slot::new(7).expect("exists");
        let first = cursors.remember(slot, b"a".to_vec());
        assert_ne!(first, 0);
        assert_eq!(cursors.resolve(first), Some((slot, Some(b"a".to_vec()))));
        let second = cursors.remember(slot, b"b".to_vec());
        assert_eq!(cursors.resolve(first), Some((slot, Some(b"a".to_vec()))));
        assert_eq!(cursors.resolve(second), Some((slot, Some(b"b".to_vec()))));
        for _ in 0..CURSORS_MAX - 1 {
            cursors.remember(slot, b"c".to_vec());
        }
        assert_eq!(cursors.resolve(first), Some((slot, None)), "dropped: the slot begins again");
        assert_eq!(cursors.resolve(second), Some((slot, Some(b"b".to_vec()))));
    }

    #[test]
    fn foreign_cursors_are_told_apart() {
        let cursors = Cursors::default();
        assert_eq!(cursors.resolve(0), Some((Slot::new(0).expect("exists"), None)));
        assert_eq!(cursors.resolve(17), Some((Slot::new(0).expect("exists"), None)));
        assert_eq!(cursors.resolve(u64::MAX), None);
    }
}
