//! The bus: where other nodes connect, and who of them answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::wire::Connection;
use super::{copy, target};
use crate::server::Inner;
use crate::{Attempt, Error, Frame, Kind, MigrationId, NodeInfo, Slot};

/// Probes in a row that a node must miss before it counts as unreachable.
const MISSED: u32 = 2;

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts connections for ever.
pub(crate) async fn run(inner: Arc<Inner>, listener: TcpListener) -> Result<(), Error> {
    let _probes = AbortOnDrop(tokio::spawn(probe(inner.clone())));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let inner = inner.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(inner, stream, peer.to_string()).await {
                        tracing::debug!(%error, "a connection of the bus ended");
                    }
                });
            }
            Err(error) => {
                // Too many open files, for one: connections that end make room.
                tracing::warn!(%error, "the bus cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(inner: Arc<Inner>, stream: TcpStream, peer: String) -> Result<(), Error> {
    let mut connection = Connection::over(stream, peer, inner.options.io_timeout);
    loop {
        let frame = connection.receive("waiting for a request").await?;
        match frame.kind {
            Kind::Ping => {
                let name = inner.me.id.as_str().as_bytes().to_vec();
                connection.send(&Frame::new(frame.attempt, Kind::Pong, 0, name)).await?;
            }
            Kind::Pull => return copy::serve_pulls(&inner, connection, frame).await,
            Kind::Open => return target::receive(inner, connection, frame).await,
            Kind::Offer => return target::offered(inner, connection, frame).await,
            _ => {}
        }
    }
}

/// Reads the map again and asks the other nodes whether they live, for ever.
async fn probe(inner: Arc<Inner>) {
    let mut missed: HashMap<NodeInfo, u32> = HashMap::new();
    let mut ticks = tokio::time::interval(inner.options.probe_interval);
    loop {
        ticks.tick().await;
        if let Err(error) = inner.blocking(|i| i.map.refresh()).await {
            tracing::warn!(%error, "the slot map cannot be read");
        }
        let others = inner.map.nodes().into_iter().filter(|n| n.id != inner.me.id);
        let mut probes = tokio::task::JoinSet::new();
        for node in others {
            let patience = inner.options.io_timeout;
            probes.spawn(async move {
                let answered = ping(&node, patience).await.is_ok();
                (node, answered)
            });
        }
        while let Some(Ok((node, answered))) = probes.join_next().await {
            let count = missed.entry(node).or_default();
            *count = if answered { 0 } else { count.saturating_add(1) };
        }
        let silent: HashSet<_> =
            missed.iter().filter(|(_, m)| **m >= MISSED).map(|(n, _)| n.id.clone()).collect();
        if silent != inner.silent_nodes() {
            tracing::info!(?silent, "nodes that do not answer");
            inner.set_silent(silent);
        }
    }
}

async fn ping(node: &NodeInfo, patience: Duration) -> Result<(), Error> {
    let mut connection = Connection::open(node.bus.as_str(), patience).await?;
    let slot = Slot::all().next().expect("there are slots");
    let attempt = Attempt { id: MigrationId::from_u64(0), slot, epoch: 0 };
    connection.send(&Frame::new(attempt, Kind::Ping, 0, Vec::new())).await?;
    loop {
        let frame = connection.receive("waiting for an answer to a ping").await?;
        // Another node at an old address is not the one that was asked for.
        if frame.kind == Kind::Pong && frame.content == node.id.as_str().as_bytes() {
            return Ok(());
        }
    }
}
