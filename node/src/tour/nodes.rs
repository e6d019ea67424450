//! Two `whimbrel serve` processes on loopback.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::error::TourError;

/// How long a node may take to restore its data and say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Most of a node's own words that an error repeats, in bytes.
const WORDS_BYTES_MAX: usize = 600;

/// How to start a node.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// `A` or `B`.
    pub name: &'static str,
    /// The tour's directory: the slot map and the nodes' files are in it.
    pub dir: &'a Path,
    /// The slots it owns at start.
    pub own: &'static str,
    /// A backup to serve.
    pub restore: Option<&'a Path>,
    /// A mistake to make.
    pub plant: Option<&'static str>,
}

/// A running node. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it serves clients.
    pub clients: SocketAddr,
    process: Process,
}

#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Starts a node and waits until it is ready.
    pub(super) fn start(plan: &Plan<'_>) -> Result<Self, TourError> {
        let mut process = Process::spawn(plan)?;
        let ready = match process.child.stdout.take() {
            Some(stdout) => ready_line(stdout).recv_timeout(READY_TIMEOUT).ok(),
            None => None,
        };
        let Some(ready) = ready else { return Err(process.not_ready()) };
        let address = |key: &str| -> Option<SocketAddr> {
            let value: serde_json::Value = serde_json::from_str(&ready).ok()?;
            value.get(key)?.as_str()?.parse().ok()
        };
        match address("client") {
            Some(clients) => Ok(Self { clients, process }),
            None => Err(process.failed(format!("said it is ready, but not where: {ready}"))),
        }
    }

    /// Fails when the process has ended.
    pub(super) fn expect_alive(&mut self) -> Result<(), TourError> {
        match self.process.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.process.failed(format!("ended: {status}"))),
            Err(error) => Err(self.process.failed(format!("cannot be watched: {error}"))),
        }
    }
}

impl Process {
    fn spawn(plan: &Plan<'_>) -> Result<Self, TourError> {
        let failed = |what: &str, error: std::io::Error| TourError::Node {
            node: plan.name,
            cause: format!("{what}: {error}"),
        };
        let data = plan.dir.join(format!("node-{}", plan.name));
        let log = plan.dir.join(format!("node-{}.log", plan.name));
        fs::create_dir_all(&data).map_err(TourError::file("create", &data))?;
        let errors = File::create(&log).map_err(TourError::file("create", &log))?;
        let binary = std::env::current_exe()
            .map_err(|error| failed("cannot find the binary of this process", error))?;
        let mut command = Command::new(binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--bus", "127.0.0.1:0"])
            .arg("--slot-map")
            .arg(plan.dir.join("slots.map"))
            .arg("--data-dir")
            .arg(&data)
            .args(["--own", plan.own])
            // Held open by this process: when it is killed, its nodes stop.
            .arg("--until-stdin-ends")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        if let Some(backup) = plan.restore {
            command.arg("--restore").arg(backup);
        }
        if let Some(plant) = plan.plant {
            command.args(["--plant", plant]);
        }
        let child = command.spawn().map_err(|error| failed("cannot be started", error))?;
        Ok(Self { name: plan.name, child, log })
    }

    fn not_ready(&mut self) -> TourError {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("ended before it was ready ({status})"),
            _ => format!("was not ready within {READY_TIMEOUT:?}"),
        };
        self.failed(state)
    }

    /// An error with the end of what the process said.
    fn failed(&self, cause: String) -> TourError {
        let words = fs::read_to_string(&self.log).unwrap_or_default();
        let words = words.trim();
        let mut from = words.len().saturating_sub(WORDS_BYTES_MAX);
        while !words.is_char_boundary(from) {
            from += 1;
        }
        let cause = if words.is_empty() {
            cause
        } else {
            format!("{cause}; its last words: {}", &words[from..])
        };
        TourError::Node { node: self.name, cause }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended already gives an error, and that is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes on what follows `ready` on standard output, and goes on reading so that the node never
/// waits for its output to be taken.
fn ready_line(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if let Some(ready) = line.strip_prefix("ready ") {
                // Nobody listens any more when it came too late.
                let _ = sender.send(ready.to_owned());
            }
        }
    });
    receiver
}
