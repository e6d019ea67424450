//! Processes that end at random moments: what the tests share that kill backups, prunes and ingests.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::WHIMBREL;

/// How many processes a test kills: `WHIMBREL_KILLS`, or `default`.
pub(crate) fn kills(default: u64) -> u64 {
    setting("WHIMBREL_KILLS", default)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Random moments, the same in every run of a seed.
pub(crate) struct Moments {
    state: u64,
}

impl Moments {
    /// From the seed `WHIMBREL_SEED`, or 1.
    pub(crate) fn new() -> Self {
        Self { state: setting("WHIMBREL_SEED", 1) }
    }

    /// A moment within the span (splitmix64).
    fn within(&mut self, span: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let nanos = u64::try_from(span.as_nanos()).expect("seconds at most");
        Duration::from_nanos(mixed % nanos.max(1))
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGKILL: nothing of it runs any more.
    Kill,
    /// SIGINT, as a user sends it.
    Interrupt,
}

/// A command that ends early, again and again.
pub(crate) struct Victim {
    /// How long it takes when nobody disturbs it.
    whole: Duration,
    /// How much of that comes after it has begun to write.
    writing: Duration,
}

impl Victim {
    /// Runs the command to its end, which must be a good one, to see how long it takes.
    pub(crate) fn measure(args: &[&str], begun: &dyn Fn() -> bool) -> Self {
        let (started, mut child) = (Instant::now(), start(args));
        runs_until(&mut child, begun);
        let began = started.elapsed();
        assert!(child.wait().expect("it is a child").success(), "{args:?}");
        let whole = started.elapsed();
        Self { whole, writing: whole - began }
    }

    /// Starts the command and ends it at a random moment: anywhere in its life, or from the moment on at
    /// which it has begun to write, if that is told.
    pub(crate) fn end(
        &self,
        args: &[&str],
        signal: Signal,
        moments: &mut Moments,
        begun: Option<&dyn Fn() -> bool>,
    ) -> ExitStatus {
        let span = if begun.is_some() { self.writing } else { self.whole };
        // A little longer than it takes, so that the end is met as well.
        let delay = moments.within(span * 5 / 4);
        let mut child = start(args);
        if begun.is_none_or(|begun| runs_until(&mut child, begun)) {
            thread::sleep(delay);
        }
        match signal {
            Signal::Kill => child.kill().expect("it can be killed"),
            Signal::Interrupt => {
                let pid = child.id().to_string();
                let _ = Command::new("kill").args(["-INT", &pid]).stderr(Stdio::null()).status();
            }
        }
        child.wait().expect("it ends")
    }
}

fn start(args: &[&str]) -> Child {
    let mut command = Command::new(WHIMBREL);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the binary starts")
}

/// Waits until the process is done or `begun`; true when it is not done.
fn runs_until(child: &mut Child, begun: impl Fn() -> bool) -> bool {
    while !begun() {
        if child.try_wait().expect("it is a child").is_some() {
            return false;
        }
        thread::sleep(Duration::from_micros(50));
    }
    true
}
