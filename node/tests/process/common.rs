//! What the tests of the binary share: nodes as processes, and Debian's redis-cli.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) const WHIMBREL: &str = env!("CARGO_BIN_EXE_whimbrel");

/// How long a node may take to start or stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A node as a process of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) ready: serde_json::Value,
}

impl Node {
    /// Starts a node on free ports, with these further arguments, and waits until it serves.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", args)
    }

    /// As [`Node::start`], at this address for clients.
    pub(crate) fn start_at(listen: &str, args: &[&str]) -> Self {
        Self::spawn(listen, Stdio::inherit(), args)
    }

    /// As [`Node::start`], with this standard input.
    pub(crate) fn start_with_stdin(stdin: Stdio, args: &[&str]) -> Self {
        Self::spawn("127.0.0.1:0", stdin, args)
    }

    fn spawn(listen: &str, stdin: Stdio, args: &[&str]) -> Self {
        let mut child = Command::new(WHIMBREL)
            .args(["serve", "--listen", listen, "--bus", "127.0.0.1:0"])
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("stdout is readable");
        let json = line.strip_prefix("ready ").unwrap_or_else(|| {
            let _ = child.kill();
            panic!("the node said {line:?} in place of ready")
        });
        let ready = serde_json::from_str(json).expect("ready carries JSON");
        Self { child, ready }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &str {
        self.ready["client"].as_str().expect("an address")
    }

    /// The port where clients connect.
    pub(crate) fn port(&self) -> &str {
        self.address().rsplit(':').next().expect("host:port")
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Sends SIGTERM and waits for a clean end.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "SIGTERM was not sent");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                assert!(status.success(), "the node ended with {status}");
                return;
            }
            assert!(Instant::now() < deadline, "the node does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's redis-cli.
///
/// # Panics
///
/// When it is not installed: the tests are worth nothing without a client that nobody changed.
pub(crate) fn redis_cli() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("redis-cli"))
        .find(|candidate| candidate.is_file())
        .expect(
            "redis-cli is missing: install the package redis-tools (apt-get install redis-tools)",
        )
}

/// Runs redis-cli against a port; gives what it printed, without the last line end.
pub(crate) fn cli(port: &str, args: &[&str]) -> String {
    cli_with_input(port, args, "")
}

/// As [`cli`], with standard input.
pub(crate) fn cli_with_input(port: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new(redis_cli())
        .args(["-h", "127.0.0.1", "-p", port])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("redis-cli reads");
    drop(stdin);
    let output = child.wait_with_output().expect("redis-cli ends");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text.trim_end_matches('\n').to_owned()
}

/// Runs the binary to its end.
pub(crate) fn whimbrel(args: &[&str]) -> Output {
    Command::new(WHIMBREL).args(args).output().expect("the binary starts")
}

/// Runs the binary, which must end with `code`; gives what it said on standard error.
pub(crate) fn whimbrel_fails(code: i32, args: &[&str]) -> String {
    let output = whimbrel(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?} said: {said}");
    said
}

/// Runs the binary, which must succeed; gives what it said on standard output.
pub(crate) fn whimbrel_succeeds(args: &[&str]) -> String {
    let output = whimbrel(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?} failed: {said}");
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// A path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
