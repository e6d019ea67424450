//! Ctrl-C as a flag that long work looks at.

use whimbrel_backup::Cancel;

use crate::Error;

/// Set when the user asks to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    cancel: Cancel,
}

impl Interrupt {
    /// Catches SIGINT and SIGTERM from now on: the first sets the flag, a second one ends the
    /// process at once.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the signals cannot be caught.
    pub fn install() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};

        let interrupt = Self::default();
        let system = |source| Error::System { what: "cannot wait for signals", source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(system)?;
        let guard = runtime.enter();
        let mut sigint = signal(SignalKind::interrupt()).map_err(system)?;
        let mut sigterm = signal(SignalKind::terminate()).map_err(system)?;
        drop(guard);
        let shared = interrupt.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                for repeated in [false, true] {
                    tokio::select! {
                        _ = sigint.recv() => {}
                        _ = sigterm.recv() => {}
                    }
                    if repeated {
                        std::process::exit(i32::from(crate::exit_code::INTERRUPTED));
                    }
                    shared.raise();
                    eprintln!("stopping; once more to stop at once");
                }
            });
        });
        Ok(interrupt)
    }

    /// The flag itself, for work that takes one.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Whether the user asked to stop.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Sets the flag.
    pub fn raise(&self) {
        self.cancel.cancel();
    }
}
