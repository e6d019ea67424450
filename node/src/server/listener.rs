//! Accepts connections and shuts down.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::checkpoint::{LOOK, RETRY};
use super::startup::{Started, start};
use super::{Node, connection};
use crate::Error;
use crate::command::serve::ServeArgs;

/// How often the node looks what other processes wrote into the slot map.
const REFRESH_EVERY: Duration = Duration::from_millis(100);
/// What a client too many is told.
const REFUSAL: &[u8] = b"-ERR max number of clients reached\r\n";
/// How long to wait after a connection could not be accepted: usually too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Starts a node and serves until SIGTERM, SIGINT or, if asked for, the end of standard input.
///
/// # Errors
///
/// What keeps the node from starting, or [`Error::Migrate`] when it can no longer talk to others.
///
/// # Cancel safety
///
/// Dropping the future closes every connection; requests already answered stay answered.
pub async fn serve(args: ServeArgs) -> Result<(), Error> {
    let system = |source| Error::System { what: "cannot wait for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let input = args.until_stdin_ends;
    let Started { node, clients, max_clients, bus, _scratch } = start(args).await?;
    let node = Arc::new(node);
    announce(&node)?;
    let slots = node.slots().clone();
    let outcome = tokio::select! {
        () = accept(&node, &clients, max_clients) => Ok(()),
        ended = slots.run_bus(bus) => ended.map_err(Error::from),
        () = refresh(&node) => Ok(()),
        () = checkpoints(&node) => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = stdin_ended(input) => Ok(()),
    };
    tracing::info!(node = %node.name(), "stopped");
    outcome
}

/// Comes back when standard input ends; never, unless it is to be watched.
async fn stdin_ended(watched: bool) {
    if !watched {
        return std::future::pending().await;
    }
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own: the runtime would wait for a blocking read when it shuts down.
    std::thread::spawn(move || {
        // An error is an end as well.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    // The sender is only ever dropped.
    let _ = end.await;
}

/// Says on standard output that the node serves, and where.
fn announce(node: &Node) -> Result<(), Error> {
    let ready = json!({
        "client": node.name().as_str(),
        "bus": node.bus().as_str(),
        "pid": std::process::id(),
        "slots": node.served().len(),
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready {ready}")
        .and_then(|()| stdout.flush())
        .map_err(|source| Error::System { what: "cannot write to standard output", source })
}

/// Accepts clients for ever, `max` at a time; their tasks end with this future.
async fn accept(node: &Arc<Node>, listener: &TcpListener, max: usize) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    while connections.try_join_next().is_some() {}
                    if connections.len() >= max {
                        refuse(stream);
                        continue;
                    }
                    connections.spawn(connection::run(Arc::clone(node), stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Says why, if the fresh connection takes it at once, and closes: nobody waits for a client that
/// there is no room for.
fn refuse(stream: TcpStream) {
    let said = stream.into_std().and_then(|mut stream| stream.write_all(REFUSAL));
    if let Err(error) = said {
        tracing::debug!(%error, "a client too many was not told so");
    }
}

/// Keeps what redirections say up to date.
async fn refresh(node: &Arc<Node>) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        node.refresh_map().await;
    }
}

/// Makes a checkpoint whenever the journal has grown by enough.
async fn checkpoints(node: &Arc<Node>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if node.wants_checkpoint()
            && let Err(error) = node.checkpoint().await
        {
            tracing::error!(%error, "a checkpoint failed; the journal grows on");
            tokio::time::sleep(RETRY).await;
        }
    }
}
