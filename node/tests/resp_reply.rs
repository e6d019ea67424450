//! Goal: replies are valid RESP2 and RESP3 that say what was written.
//!
//! Method: the `redis-protocol` decoders read them back.

use bytes::Bytes;
use redis_protocol::resp2::decode::decode as decode2;
use redis_protocol::resp2::types::OwnedFrame as Frame2;
use redis_protocol::resp3::decode::complete::decode as decode3;
use redis_protocol::resp3::types::OwnedFrame as Frame3;
use whimbrel_node::resp::{Protocol, ReplyWriter};

fn written(protocol: Protocol, write: impl FnOnce(&mut ReplyWriter)) -> Bytes {
    let mut reply = ReplyWriter::new();
    reply.set_protocol(protocol);
    write(&mut reply);
    reply.buffer_mut().split().freeze()
}

fn resp2(write: impl FnOnce(&mut ReplyWriter)) -> Frame2 {
    let bytes = written(Protocol::Resp2, write);
    let (frame, length) = decode2(&bytes).expect("valid RESP2").expect("complete");
    assert_eq!(length, bytes.len(), "one reply only");
    frame
}

fn resp3(write: impl FnOnce(&mut ReplyWriter)) -> Frame3 {
    let bytes = written(Protocol::Resp3, write);
    let (frame, length) = decode3(&bytes).expect("valid RESP3").expect("complete");
    assert_eq!(length, bytes.len(), "one reply only");
    frame
}

#[test]
fn scalars_read_back_equal() {
    for number in [0, 1, -1, 9, 10, -10, 42, i64::MAX, i64::MIN] {
        assert_eq!(resp2(|reply| reply.integer(number)), Frame2::Integer(number));
    }
    assert_eq!(resp2(|reply| reply.ok()), Frame2::SimpleString(b"OK".to_vec()));
    assert_eq!(resp2(|reply| reply.bulk(b"a\r\nb\0")), Frame2::BulkString(b"a\r\nb\0".to_vec()));
    assert_eq!(resp2(|reply| reply.bulk(b"")), Frame2::BulkString(Vec::new()));
    assert_eq!(resp2(|reply| reply.null()), Frame2::Null);
    assert_eq!(resp3(|reply| reply.null()), Frame3::Null);
    assert_eq!(resp2(|reply| reply.text("two\nlines")), Frame2::BulkString(b"two\nlines".to_vec()));
    assert!(matches!(
        resp3(|reply| reply.text("two\nlines")),
        Frame3::VerbatimString { data, .. } if data == b"two\nlines"
    ));
}

#[test]
fn an_error_with_line_ends_is_still_one_reply() {
    let frame = resp2(|reply| reply.error("ERR bad key 'a\r\n+OK\r\n'"));
    assert_eq!(frame, Frame2::Error("ERR bad key 'a  +OK  '".to_owned()));
}

#[test]
fn a_map_is_flat_in_resp2_and_a_map_in_resp3() {
    let write = |reply: &mut ReplyWriter| {
        reply.map(2);
        reply.bulk(b"one");
        reply.integer(1);
        reply.bulk(b"two");
        reply.array(2);
        reply.null();
        reply.bulk_or_null(Some(b"x"));
    };
    let Frame2::Array(flat) = resp2(write) else { panic!("not an array") };
    assert_eq!(flat.len(), 4);
    assert_eq!(flat[3], Frame2::Array(vec![Frame2::Null, Frame2::BulkString(b"x".to_vec())]));
    let Frame3::Map { data, .. } = resp3(write) else { panic!("not a map") };
    assert_eq!(data.len(), 2);
}

#[test]
fn a_set_is_an_array_in_resp2_and_a_set_in_resp3() {
    let write = |reply: &mut ReplyWriter| {
        reply.set(1);
        reply.bulk(b"readonly");
    };
    assert!(matches!(resp2(write), Frame2::Array(elements) if elements.len() == 1));
    assert!(matches!(resp3(write), Frame3::Set { data, .. } if data.len() == 1));
}
