//! What is known of one connection, shared with `CLIENT LIST` of the others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    peer: SocketAddr,
    since: Instant,
    names: Mutex<Names>,
    /// The newest record of the journal that replies wait for.
    owed: AtomicU64,
}

#[derive(Debug, Default)]
struct Names {
    name: String,
    library: String,
    library_version: String,
    last_command: &'static str,
}

impl Session {
    pub(crate) fn new(id: u64, peer: SocketAddr) -> Self {
        Self { id, peer, since: Instant::now(), names: Mutex::default(), owed: AtomicU64::new(0) }
    }

    /// Replies from now on wait for this record of the journal.
    pub(crate) fn owe(&self, sequence: u64) {
        // ORDERING: Relaxed; only the connection's own task calls this and `owed`. Row N1.
        self.owed.fetch_max(sequence, Ordering::Relaxed);
    }

    /// The newest record that replies wait for; 0: none.
    pub(crate) fn owed(&self) -> u64 {
        // ORDERING: Relaxed; as in `owe`. Row N1.
        self.owed.load(Ordering::Relaxed)
    }

    /// Its number; no two connections of a node's life share one.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The name given by `CLIENT SETNAME`, or nothing.
    pub(crate) fn name(&self) -> String {
        self.names().name.clone()
    }

    pub(crate) fn set_name(&self, name: String) {
        self.names().name = name;
    }

    pub(crate) fn set_library(&self, library: String) {
        self.names().library = library;
    }

    pub(crate) fn set_library_version(&self, version: String) {
        self.names().library_version = version;
    }

    /// Notes the command that is about to run.
    pub(crate) fn set_last_command(&self, name: &'static str) {
        self.names().last_command = name;
    }

    /// One line of `CLIENT LIST`.
    pub(crate) fn describe(&self) -> String {
        let names = self.names();
        format!(
            "id={} addr={} name={} age={} db=0 cmd={} lib-name={} lib-ver={}\n",
            self.id,
            self.peer,
            names.name,
            self.since.elapsed().as_secs(),
            names.last_command,
            names.library,
            names.library_version,
        )
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Plain texts: whatever a panicking holder left is still valid.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
