//! Accepts connections and shuts down.

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::Error;
use crate::server::connection;

/// Serves clients on `address` until SIGTERM or SIGINT.
///
/// # Errors
///
/// [`Error::Listen`] when the address cannot be bound.
///
/// # Cancel safety
///
/// Dropping the future closes every connection; requests already answered stay answered.
pub async fn serve(address: &str) -> Result<(), Error> {
    let listening = |source| Error::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let client = listener.local_addr().map_err(listening)?;
    let system = |source| Error::System { what: "cannot wait for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    println!("ready {}", json!({ "client": client.to_string(), "pid": std::process::id() }));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection::run(stream, peer));
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    connections.shutdown().await;
    Ok(())
}
