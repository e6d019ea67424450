//! What can go wrong in the tour: a check that found something, an input, the machine, a node.

use std::io;
use std::path::{Path, PathBuf};

/// Why the tour stopped. A failed check is the only one that speaks against Whimbrel itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum TourError {
    /// A check compared what is with what has to be, and they differ.
    #[error("check {check} failed\n  expected: {expected}\n  got:      {got}")]
    Check {
        /// The check, a word that the documentation and the tests use.
        check: &'static str,
        /// What had to be.
        expected: String,
        /// What was there.
        got: String,
    },
    /// A line of the user's file.
    #[error("{}, line {line}: {cause}\n  {remedy}", file.display())]
    Line {
        /// The file as given.
        file: PathBuf,
        /// Its line, counted from 1.
        line: u64,
        /// What is wrong there.
        cause: String,
        /// What to do about it.
        remedy: String,
    },
    /// The user's file as a whole.
    #[error("{}: {cause}\n  {remedy}", file.display())]
    Data {
        /// The file as given.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file or directory that the tour needs for itself.
    #[error("cannot {action} {}: {source}\n  {}", path.display(), remedy(source))]
    File {
        /// What was to be done with it.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A layer of Whimbrel reported an error where none was planted.
    #[error("{step} failed: {cause}")]
    Engine {
        /// What was under way.
        step: &'static str,
        /// What the layer said.
        cause: String,
    },
    /// The disk, or what it may be used for, came to its end while a layer wrote.
    #[error("{step} failed: {cause}\n  {remedy}")]
    Machine {
        /// What was under way.
        step: &'static str,
        /// What the layer said.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The user asked to stop.
    #[error("interrupted; nothing is left behind")]
    Interrupted,
    /// A node process did not start, died, or answered with an error.
    #[error("node {node}: {cause}")]
    Node {
        /// The node's name in the tour, `A` or `B`.
        node: &'static str,
        /// What happened.
        cause: String,
    },
}

impl TourError {
    /// An error of `step` in the words of the layer that reported it.
    pub(super) fn engine(step: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error.to_string();
        let mut machine = None;
        let mut next = error.source();
        while let Some(inner) = next {
            machine = machine.or(inner.downcast_ref::<io::Error>().filter(|e| is_machines(e)));
            let text = inner.to_string();
            if !cause.contains(&text) {
                cause = format!("{cause}: {text}");
            }
            next = inner.source();
        }
        match machine {
            Some(source) => Self::Machine { step, cause, remedy: remedy(source) },
            None => Self::Engine { step, cause },
        }
    }

    /// An error of the system about a file of the tour.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    /// The exit code, as the binary documents it.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Check { .. } | Self::Engine { .. } => 1,
            Self::Line { .. } | Self::Data { .. } => 3,
            Self::File { .. } | Self::Machine { .. } => 4,
            Self::Node { .. } => 5,
            Self::Interrupted => 130,
        }
    }
}

/// Succeeds when both are equal; otherwise the check `check` failed.
pub(super) fn expect_equal<T: PartialEq + std::fmt::Display>(
    check: &'static str,
    what: &str,
    expected: &T,
    got: &T,
) -> Result<(), TourError> {
    if expected == got {
        return Ok(());
    }
    Err(TourError::Check {
        check,
        expected: format!("{what}: {expected}"),
        got: format!("{what}: {got}"),
    })
}

/// Whether the machine is the reason, not the data.
fn is_machines(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::StorageFull | Kind::QuotaExceeded | Kind::PermissionDenied | Kind::ReadOnlyFilesystem
    )
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or let TMPDIR point to a disk that has it; nothing is left behind"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let TMPDIR point to a directory that you may write"
        }
        io::ErrorKind::NotFound => "check the path",
        _ => "the tour needs about 100 MB in TMPDIR and leaves nothing behind",
    }
}
