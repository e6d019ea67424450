//! WQUERY: searches an index of a collection whose partitions live in this node's slots.

use bytes::Bytes;
use whimbrel::encoding::encode_tuple;
use whimbrel::{CollectionView, Direction, PartitionView, Query, Value};
use whimbrel_migrate::slot_of;

use super::keys::COLLECTION;
use super::refusal::Refusal;
use crate::query_spec::{QuerySpec, directions};
use crate::resp::ReplyWriter;
use crate::server::{Node, Session};

/// What one `WQUERY` asks for.
#[derive(Debug, Default)]
struct Request {
    spec: QuerySpec,
    count: bool,
    raw: bool,
    partition: Option<u16>,
}

impl Request {
    fn parse(args: &[Bytes]) -> Result<Self, Refusal> {
        let text = |arg: &Bytes| String::from_utf8(arg.to_vec());
        let words: Vec<String> = args
            .iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map_err(|_| Refusal::Syntax(": the words of a query are UTF-8"))?;
        let mut request = Self::default();
        let mut words = &words[..];
        while let Some((name, rest)) = words.split_first() {
            words = match (name.to_ascii_uppercase().as_str(), rest) {
                ("COUNT", rest) => {
                    request.count = true;
                    rest
                }
                ("RAW", rest) => {
                    request.raw = true;
                    rest
                }
                ("PARTITION", [number, rest @ ..]) => {
                    let number = number.parse().map_err(|_| Refusal::NotAnInteger)?;
                    request.partition = Some(number);
                    rest
                }
                _ => request.spec.take_word(words).map_err(|_| Refusal::Syntax(""))?,
            };
        }
        Ok(request)
    }
}

/// `WQUERY collection index [EQ v].. [PREFIX v] [FROM|AFTER v] [TO|BEFORE v] [REV] [LIMIT n]
/// [OFFSET n] [DISTINCT] [COUNT] [PARTITION n] [RAW]`
///
/// Without `PARTITION` all partitions must be on this node. A row is its document id, the fields of
/// its key, and the covered fields. `RAW` gives what a merger needs: the number of partitions, the
/// definition as JSON, and rows of document id, encoded key and encoded covered fields.
pub(crate) async fn wquery(
    node: &Node,
    session: &Session,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let name = std::str::from_utf8(&args[0]).map_err(Refusal::failed)?.to_owned();
    let index = std::str::from_utf8(&args[1]).map_err(Refusal::failed)?.to_owned();
    let request = Request::parse(&args[2..])?;
    let view = match request.partition {
        Some(number) => partition(node, session, &name, number).await?,
        None => collection(node, session, &name).await?,
    };
    let mut rows = std::mem::take(reply);
    // A query may read for long: not on a thread that serves others.
    let (rows, outcome) = tokio::task::spawn_blocking(move || {
        let outcome = answer(&view, &index, &request, &mut rows);
        (rows, outcome)
    })
    .await
    .map_err(Refusal::failed)?;
    *reply = rows;
    outcome
}

/// The name that a partition goes by in backups; its slot is the slot of this name.
fn partition_name(collection: &str, number: u16) -> String {
    format!("{collection}/{number:05}")
}

/// The key prefix of a partition in its slot.
pub(crate) fn partition_prefix(collection: &str, number: u16) -> Vec<u8> {
    [COLLECTION, collection.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

/// One partition, where its slot is.
async fn partition(
    node: &Node,
    session: &Session,
    collection: &str,
    number: u16,
) -> Result<CollectionView, Refusal> {
    let slot = slot_of(partition_name(collection, number).as_bytes());
    let snapshot = node.read(session, slot, |store| store.snapshot_named("query")).await?;
    let view = PartitionView::open(snapshot, &partition_prefix(collection, number))
        .map_err(|_| no_collection(collection))?;
    Ok(view.into())
}

/// All partitions, which must be here, at one moment.
async fn collection(
    node: &Node,
    session: &Session,
    collection: &str,
) -> Result<CollectionView, Refusal> {
    let first = match partition(node, session, collection, 0).await {
        Err(Refusal::Moved { address, .. }) => return Err(elsewhere(collection, 0, &address)),
        other => other?,
    };
    let hold = node.hold("query");
    let mut views = Vec::new();
    for number in 0..first.def().partition_count() {
        let slot = slot_of(partition_name(collection, number).as_bytes());
        let snapshot = match node.read(session, slot, |store| store.snapshot_at(&hold)).await {
            Err(Refusal::Moved { address, .. }) => {
                return Err(elsewhere(collection, number, &address));
            }
            other => other?,
        };
        let prefix = partition_prefix(collection, number);
        views.push(PartitionView::open(snapshot, &prefix).map_err(Refusal::failed)?);
    }
    CollectionView::from_partitions(views).map_err(Refusal::failed)
}

fn no_collection(name: &str) -> Refusal {
    let name = name.escape_debug();
    Refusal::Failed(format!("no collection '{name}' is in this node's slots"))
}

fn elsewhere(name: &str, partition: u16, address: &str) -> Refusal {
    Refusal::Failed(format!(
        "partition {partition} of '{name}' is at {address}: ask for one PARTITION, or merge with \
         `whimbrel query --node`"
    ))
}

fn answer(
    view: &CollectionView,
    index: &str,
    request: &Request,
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let query = request.spec.query(view, index).map_err(Refusal::Failed)?;
    if request.count {
        reply.count(query.count().map_err(Refusal::failed)?);
    } else if request.raw {
        raw(view, index, &query, reply)?;
    } else {
        let rows = query.fetch().map_err(Refusal::failed)?;
        reply.array(rows.len());
        for row in rows {
            reply.array(1 + row.key().len() + row.covered().len());
            reply.bulk(row.doc_id());
            row.key().iter().chain(row.covered()).for_each(|value| write(value, reply));
        }
    }
    Ok(())
}

fn raw(
    view: &CollectionView,
    index: &str,
    query: &Query,
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let def = view.def().indexes().iter().find(|def| def.name() == index);
    let directions = def.map(directions).unwrap_or_default();
    let covered = vec![Direction::Ascending; def.map_or(0, |def| def.covered_fields().len())];
    let rows = query.fetch().map_err(Refusal::failed)?;
    reply.array(3);
    reply.integer(i64::from(view.def().partition_count()));
    reply.bulk(&serde_json::to_vec(view.def()).map_err(Refusal::failed)?);
    reply.array(rows.len());
    for row in rows {
        reply.array(3);
        reply.bulk(row.doc_id());
        reply.bulk(&encode_tuple(row.key(), &directions));
        reply.bulk(&encode_tuple(row.covered(), &covered));
    }
    Ok(())
}

fn write(value: &Value, reply: &mut ReplyWriter) {
    match value {
        Value::Null => reply.null(),
        Value::Int(number) | Value::Timestamp(number) => reply.integer(*number),
        Value::Bytes(bytes) => reply.bulk(bytes),
        other => reply.bulk(crate::index_spec::show_value(other).as_bytes()),
    }
}
