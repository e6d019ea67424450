//! Connections that carry frames.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Attempt, Error, Frame, FrameError, HEADER_LEN, Header, Kind, MAX_PARTS};

/// Frames read ahead of whoever handles them.
const READ_AHEAD: usize = 16;

/// One connection to another node. Reading goes on in a task of its own, so that waiting for the
/// next frame can be given up without losing half of one.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: String,
    patience: Duration,
    write: OwnedWriteHalf,
    frames: mpsc::Receiver<Result<Frame, Error>>,
    reader: JoinHandle<()>,
    buffer: Vec<u8>,
    sent: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Connection {
    pub(crate) async fn open(address: &str, patience: Duration) -> Result<Self, Error> {
        let doing = "connecting";
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(Self::over(stream, address.to_owned(), patience)),
            Ok(Err(source)) => Err(Error::Connection { peer: address.to_owned(), doing, source }),
            Err(_) => Err(Error::Silent { peer: address.to_owned(), doing, after: patience }),
        }
    }

    pub(crate) fn over(stream: TcpStream, peer: String, patience: Duration) -> Self {
        // Frames are written whole, so waiting to fill a segment only adds delay.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let (to, frames) = mpsc::channel(READ_AHEAD);
        let reader = tokio::spawn(read_frames(read, peer.clone(), patience, to));
        Self { peer, patience, write, frames, reader, buffer: Vec::new(), sent: 0 }
    }

    /// Bytes sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The next whole message, its parts joined.
    pub(crate) async fn receive(&mut self, doing: &'static str) -> Result<Frame, Error> {
        self.receive_within(doing, self.patience).await
    }

    /// The same with a patience of its own.
    pub(crate) async fn receive_within(
        &mut self,
        doing: &'static str,
        patience: Duration,
    ) -> Result<Frame, Error> {
        match timeout(patience, self.frames.recv()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => Err(self.closed(doing)),
            Err(_) => Err(Error::Silent { peer: self.peer.clone(), doing, after: patience }),
        }
    }

    /// A message that is there already.
    pub(crate) fn try_receive(&mut self) -> Option<Result<Frame, Error>> {
        self.frames.try_recv().ok()
    }

    pub(crate) async fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        self.buffer.clear();
        frame.encode(&mut self.buffer);
        let written = timeout(self.patience, self.write.write_all(&self.buffer)).await;
        self.sent += self.buffer.len() as u64;
        let doing = "sending";
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Connection { peer: self.peer.clone(), doing, source }),
            Err(_) => Err(Error::Silent { peer: self.peer.clone(), doing, after: self.patience }),
        }
    }

    /// Sends content of any length, in parts.
    pub(crate) async fn send_parts(
        &mut self,
        attempt: Attempt,
        kind: Kind,
        sequence: u64,
        content: &[u8],
    ) -> Result<(), Error> {
        for part in Frame::parts(attempt, kind, sequence, content) {
            self.send(&part).await?;
        }
        Ok(())
    }

    pub(crate) fn bad(&self, cause: FrameError) -> Error {
        Error::BadFrame { peer: self.peer.clone(), cause }
    }

    fn closed(&self, doing: &'static str) -> Error {
        let source = io::ErrorKind::UnexpectedEof.into();
        Error::Connection { peer: self.peer.clone(), doing, source }
    }
}

/// Reads messages until the connection ends or nobody wants them. A connection may rest for as long
/// as whoever waits for a frame allows; inside a frame each read has its time-out.
async fn read_frames(
    mut read: OwnedReadHalf,
    peer: String,
    patience: Duration,
    to: mpsc::Sender<Result<Frame, Error>>,
) {
    loop {
        let message = tokio::select! {
            message = read_message(&mut read, &peer, patience) => message,
            () = to.closed() => return,
        };
        let ended = message.is_err();
        if to.send(message).await.is_err() || ended {
            return;
        }
    }
}

async fn read_message(
    read: &mut OwnedReadHalf,
    peer: &str,
    patience: Duration,
) -> Result<Frame, Error> {
    let mut whole = read_frame(read, peer, patience).await?;
    while whole.more {
        let part = read_frame(read, peer, patience).await?;
        let same = part.attempt == whole.attempt && part.kind == whole.kind;
        let len = whole.content.len() + part.content.len();
        if !same {
            return Err(Error::BadFrame { peer: peer.to_owned(), cause: FrameError::Content });
        }
        if len > MAX_PARTS {
            let cause = FrameError::PartsTooLong { len, max: MAX_PARTS };
            return Err(Error::BadFrame { peer: peer.to_owned(), cause });
        }
        whole.content.extend_from_slice(&part.content);
        whole.more = part.more;
    }
    Ok(whole)
}

async fn read_frame(
    read: &mut OwnedReadHalf,
    peer: &str,
    patience: Duration,
) -> Result<Frame, Error> {
    let doing = "reading a frame";
    let failed = |source| Error::Connection { peer: peer.to_owned(), doing, source };
    let silent = |_| Error::Silent { peer: peer.to_owned(), doing, after: patience };
    let bad = |cause| Error::BadFrame { peer: peer.to_owned(), cause };
    let mut head = [0; HEADER_LEN];
    // The first byte may take long: the one who waits for the frame has the time-out.
    read.read_exact(&mut head[..1]).await.map_err(failed)?;
    timeout(patience, read.read_exact(&mut head[1..])).await.map_err(silent)?.map_err(failed)?;
    let header = Header::decode(&head).map_err(bad)?;
    let mut content = vec![0; header.len()];
    timeout(patience, read.read_exact(&mut content)).await.map_err(silent)?.map_err(failed)?;
    header.with_content(content).map_err(bad)
}

/// Content of [`Kind::Open`] and [`Kind::Offer`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) source: String,
    pub(crate) source_bus: String,
    pub(crate) target: String,
    /// Incarnation in the record.
    pub(crate) incarnation: u64,
    pub(crate) pulls: usize,
    pub(crate) credit_bytes: u64,
    /// Memory that the slot takes at the source, about.
    #[serde(default)]
    pub(crate) bytes: u64,
}

/// Content of [`Kind::Ranges`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ranges {
    pub(crate) ranges: u64,
}

/// Content of [`Kind::RangeEnd`], [`Kind::Final`] and [`Kind::Mismatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

impl From<whimbrel_mvcc::Digest> for Sum {
    fn from(digest: whimbrel_mvcc::Digest) -> Self {
        Self { count: digest.count, sum: digest.sum }
    }
}

/// Content of [`Kind::Progress`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) keys: u64,
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // Numbers and text always have a form in JSON.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(crate) fn from_json<T: DeserializeOwned>(content: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(content).map_err(|_| FrameError::Content)
}

/// A number as the content of [`Kind::Pull`] and [`Kind::Credit`].
pub(crate) fn number(content: &[u8]) -> Result<u64, FrameError> {
    content.try_into().map(u64::from_le_bytes).map_err(|_| FrameError::Content)
}
