//! COMMAND, INFO and WSTATUS: what the node says of itself.

use bytes::Bytes;
use serde_json::{Value, json};
use whimbrel_mvcc::{ClockStats, OpenSnapshot};

use super::refusal::Refusal;
use super::table::{self, Access, Keys, Spec, TABLE};
use crate::resp::ReplyWriter;
use crate::server::{Durable, Node};

const COMMAND_HELP: &str = "COMMAND, COMMAND COUNT, DOCS, GETKEYS, INFO, LIST";

/// `COMMAND [COUNT | LIST | INFO [name ..] | DOCS [name ..] | GETKEYS command arg ..]`
pub(crate) fn command(args: &[Bytes], reply: &mut ReplyWriter) -> Result<(), Refusal> {
    let Some((subcommand, rest)) = args.split_first() else {
        reply.array(TABLE.len());
        TABLE.iter().for_each(|spec| info_of(spec, reply));
        return Ok(());
    };
    match (subcommand.to_ascii_uppercase().as_slice(), rest) {
        (b"COUNT", []) => reply.count(TABLE.len() as u64),
        (b"LIST", []) => {
            reply.array(TABLE.len());
            TABLE.iter().for_each(|spec| reply.bulk(spec.name.as_bytes()));
        }
        (b"INFO", []) => {
            reply.array(TABLE.len());
            TABLE.iter().for_each(|spec| info_of(spec, reply));
        }
        (b"INFO", names) => {
            reply.array(names.len());
            for name in names {
                match table::find(name) {
                    Some(spec) => info_of(spec, reply),
                    None => reply.null(),
                }
            }
        }
        (b"DOCS", []) => docs(TABLE.iter().collect(), reply),
        (b"DOCS", names) => {
            docs(names.iter().filter_map(|name| table::find(name)).collect(), reply)
        }
        (b"GETKEYS", [name, args @ ..]) => {
            let spec =
                table::find(name).ok_or(Refusal::Unsupported("Invalid command specified"))?;
            if !spec.takes(args.len() + 1) {
                return Err(Refusal::Unsupported(
                    "Invalid number of arguments specified for command",
                ));
            }
            let keys = keys_of(spec, args);
            if keys.is_empty() {
                return Err(Refusal::Unsupported("The command has no key arguments"));
            }
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
        _ => return Err(Refusal::unknown_subcommand(subcommand, COMMAND_HELP)),
    }
    Ok(())
}

/// The keys among a command's arguments, its name left out.
pub(crate) fn keys_of<'a>(spec: &Spec, args: &'a [Bytes]) -> Vec<&'a Bytes> {
    match spec.keys {
        Keys::None => Vec::new(),
        Keys::One => args.iter().take(1).collect(),
        Keys::All => args.iter().collect(),
        Keys::Pairs => args.iter().step_by(2).collect(),
    }
}

fn flag_names(spec: &Spec) -> &'static [&'static str] {
    match spec.access {
        Access::None => &["fast", "loading", "stale"],
        Access::Read => &["readonly"],
        Access::Write => &["write"],
        Access::Admin => &["admin"],
    }
}

/// The ten fields of one command, as Redis 7 gives them.
fn info_of(spec: &Spec, reply: &mut ReplyWriter) {
    let (first, last, step) = spec.keys.range();
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(spec.arity);
    let flags = flag_names(spec);
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    reply.set(0); // access control categories: there is no access control
    reply.array(0); // tips
    match spec.keys {
        Keys::None => reply.array(0),
        _ => {
            reply.array(1);
            key_spec(spec, (first, last, step), reply);
        }
    }
    reply.array(0); // subcommands
}

/// Where the keys are, in the form that newer cluster clients read.
fn key_spec(spec: &Spec, (first, last, step): (i64, i64, i64), reply: &mut ReplyWriter) {
    reply.map(3);
    reply.bulk(b"flags");
    let flags: &[&str] =
        if spec.access == Access::Write { &["RW", "update"] } else { &["RO", "access"] };
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(first);
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"range");
    reply.bulk(b"spec");
    reply.map(3);
    reply.bulk(b"lastkey");
    // Counted from the first key here, from the first argument above.
    reply.integer(if last >= 0 { last - first } else { last });
    reply.bulk(b"keystep");
    reply.integer(step);
    reply.bulk(b"limit");
    reply.integer(0);
}

fn docs(specs: Vec<&Spec>, reply: &mut ReplyWriter) {
    reply.map(specs.len());
    for spec in specs {
        reply.bulk(spec.name.as_bytes());
        reply.map(2);
        reply.bulk(b"summary");
        reply.bulk(spec.summary.as_bytes());
        reply.bulk(b"group");
        reply.bulk(spec.group.as_bytes());
    }
}

/// `INFO [section ..]`: every section, whatever is asked for, as small as it is.
pub(crate) async fn info(
    node: &Node,
    _sections: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let keys = node.count_keys().await;
    let text = format!(
        "# Server\r\n\
         redis_version:7.0.0\r\n\
         redis_mode:cluster\r\n\
         server_name:whimbrel\r\n\
         whimbrel_version:{version}\r\n\
         process_id:{pid}\r\n\
         tcp_port:{port}\r\n\
         uptime_in_seconds:{uptime}\r\n\
         \r\n# Clients\r\nconnected_clients:{clients}\r\nunfinished_request_bytes:{unfinished}\r\n\
         \r\n# Memory\r\nused_memory:{bytes}\r\n\
         \r\n# Stats\r\ntotal_commands_processed:{commands}\r\n\
         \r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\
         \r\n# Cluster\r\ncluster_enabled:1\r\n\
         \r\n# Keyspace\r\n{keyspace}",
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        port = node.name().as_str().rsplit(':').next().unwrap_or_default(),
        uptime = node.uptime().as_secs(),
        clients = node.clients().len(),
        unfinished = node.intake().used(),
        bytes = node.bytes(),
        commands = node.commands(),
        keyspace = if keys == 0 {
            String::new()
        } else {
            format!("db0:keys={keys},expires=0,avg_ttl=0\r\n")
        },
    );
    reply.text(&text);
    Ok(())
}

/// `WSTATUS`: one JSON object.
pub(crate) async fn wstatus(node: &Node, reply: &mut ReplyWriter) -> Result<(), Refusal> {
    let mut migrations = Vec::new();
    for handle in node.migrations() {
        migrations.push(super::migrate::describe(&handle).await);
    }
    let stats = node.stats();
    let status = json!({
        "node": node.name().as_str(),
        "bus": node.bus().as_str(),
        "id": super::cluster_id(node.name()),
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_s": node.uptime().as_secs(),
        "clients": node.clients().len(),
        "commands": node.commands(),
        "slots_served": node.served().len(),
        "slots_filled": node.filled().len(),
        "keys": node.count_keys().await,
        "bytes": node.bytes(),
        "versions": stats.total.versions,
        "garbage": garbage(&stats),
        "snapshots": stats.snapshots.iter().map(open_snapshot).collect::<Vec<_>>(),
        "migrations": migrations,
        "journal": node.durable().map(journal),
    });
    reply.bulk(status.to_string().as_bytes());
    Ok(())
}

fn garbage(stats: &ClockStats) -> Value {
    json!({
        "collectable_entries": stats.total.collectable.entries,
        "collectable_bytes": stats.total.collectable.bytes,
        "held_entries": stats.total.held.entries,
        "held_bytes": stats.total.held.bytes,
        "unreclaimed_bytes": stats.unreclaimed.bytes,
        "oldest_reader_ms": stats.oldest_reader.map(|age| age.as_millis()),
    })
}

fn open_snapshot(snapshot: &OpenSnapshot) -> Value {
    json!({
        "number": snapshot.number,
        "name": snapshot.name,
        "age_ms": snapshot.age.as_millis(),
        "held_entries": snapshot.held.entries,
        "held_bytes": snapshot.held.bytes,
    })
}

/// The journal as one JSON object.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn journal(durable: &Durable) -> Value {
    let journal = durable.journal();
    let (mark, figures) = (journal.mark(), journal.figures());
    let mean = figures.sync_time.as_secs_f64() * 1e3 / figures.syncs.max(1) as f64;
    json!({
        "identity": mark.identity.to_string(),
        "sequence": mark.sequence,
        "pending_bytes": journal.pending_bytes(),
        "bytes": journal.bytes(),
        "groups": figures.groups,
        "syncs": figures.syncs,
        "sync_mean_ms": mean,
        "sync_max_ms": figures.sync_max.as_secs_f64() * 1e3,
        "failure": journal.failure().map(|failure| failure.to_string()),
    })
}
