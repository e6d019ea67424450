//! Goal: the request parser understands exactly what Redis clients send, however it is cut, and
//! survives everything else.
//!
//! Method: random requests encoded by the `redis-protocol` crate must come back equal, byte by
//! byte or in one piece; random and damaged bytes must give the same request as that crate's
//! decoder, or an error, and never a panic; every limit is met from both sides.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use redis_protocol::resp2;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame as _};
use whimbrel_node::resp::{Limits, ProtocolError, Request, RequestParser};

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let frame = OwnedFrame::Array(args.iter().cloned().map(OwnedFrame::BulkString).collect());
    let mut bytes = vec![0; frame.encode_len(false)];
    let written = resp2::encode::encode(&mut bytes, &frame, false).expect("the oracle encodes");
    bytes.truncate(written);
    bytes
}

/// What the oracle makes of the first frame: its arguments and its length.
fn oracle(bytes: &[u8]) -> Option<(Vec<Bytes>, usize)> {
    let (frame, length) = resp2::decode::decode(bytes).ok().flatten()?;
    let OwnedFrame::Array(elements) = frame else { return None };
    let bulk = |element| match element {
        OwnedFrame::BulkString(bytes) => Some(Bytes::from(bytes)),
        _ => None,
    };
    Some((elements.into_iter().map(bulk).collect::<Option<_>>()?, length))
}

fn parse_all(
    pieces: impl IntoIterator<Item = Vec<u8>>,
    limits: Limits,
) -> Result<Vec<Request>, ProtocolError> {
    let mut parser = RequestParser::new(limits);
    let mut buffer = BytesMut::new();
    let mut requests = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(&piece);
        while let Some(request) = parser.next(&mut buffer)? {
            requests.push(request);
        }
    }
    Ok(requests)
}

fn parse_one(bytes: &[u8]) -> Result<Vec<Request>, ProtocolError> {
    parse_all([bytes.to_vec()], Limits::default())
}

fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)
}

/// Bytes that look like requests and are often wrong.
fn suspicious() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "*", "$", "\r\n", "1", "2", "0", "-1", "3", "a", "abc", "\r", "\n", "+", "*1\r\n",
            "*2\r\n", "$1\r\na\r\n", "$0\r\n\r\n", "$3\r\nGET\r\n", "99999999999999999999", " ",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A well-formed request with one byte changed, taken out or put in.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit =
        (any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b"\r\n*$019-a+ ".to_vec()));
    (request(), edit).prop_map(|(request, (at, kind, byte))| {
        let mut bytes = encode(&request);
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_oracle_encodes_is_understood_however_it_is_cut(
        requests in prop::collection::vec(request(), 1..4),
        cut in 1_usize..30,
    ) {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
        let pieces = bytes.chunks(cut).map(<[u8]>::to_vec);
        let parsed = parse_all(pieces, Limits::default()).expect("well-formed");
        prop_assert_eq!(parsed, requests);
    }

    #[test]
    fn whatever_is_accepted_is_what_the_oracle_reads(
        bytes in prop_oneof![suspicious(), damaged()],
    ) {
        let mut parser = RequestParser::new(Limits::default());
        let mut buffer = BytesMut::from(&bytes[..]);
        let parsed = parser.next(&mut buffer);
        if bytes.first() != Some(&b'*') {
            return Ok(());
        }
        match (parsed, oracle(&bytes)) {
            // An empty array is skipped, so what follows it is compared by the other tests.
            (_, Some((args, _))) if args.is_empty() => {}
            (Ok(Some(args)), Some((expected, length))) => {
                let args_again: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                let canonical = encode(&args_again);
                if canonical.len() == length {
                    // No number was written in a longer way: then every byte is as it must be.
                    prop_assert_eq!(&bytes[..length], &canonical[..]);
                }
                prop_assert_eq!(args, expected);
                prop_assert_eq!(buffer.len(), bytes.len() - length);
            }
            (Ok(Some(args)), None) => {
                let skipped = bytes.starts_with(b"*0\r\n") || bytes.starts_with(b"*-");
                prop_assert!(skipped, "accepted {args:?}, which the oracle refuses");
            }
            (Ok(None), Some((expected, _))) => prop_assert!(false, "missed {expected:?}"),
            // The oracle skips the two bytes that end a bulk string without looking at them.
            (Err(ProtocolError::LineEnd { at }), Some(_)) => {
                prop_assert_ne!(bytes.get(at..at + 2), Some(&b"\r\n"[..]));
            }
            (Err(error), Some(expected)) => {
                // The oracle also reads numbers with a leading plus sign; Redis does not.
                prop_assert!(bytes.contains(&b'+'), "refused {expected:?}: {error}");
            }
            (Ok(None) | Err(_), None) => {}
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..9) {
        let _ = parse_all(bytes.chunks(cut).map(<[u8]>::to_vec), Limits::default());
    }

    #[test]
    fn cutting_changes_nothing(
        bytes in prop_oneof![suspicious(), damaged()],
        cut in 1_usize..9,
    ) {
        let whole = parse_one(&bytes);
        let pieces = parse_all(bytes.chunks(cut).map(<[u8]>::to_vec), Limits::default());
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn inline_requests_are_split_at_blanks_and_quotes() {
    let parse = |line: &str| parse_one(line.as_bytes()).map(|mut all| all.pop());
    let args = |args: &[&'static str]| Ok(Some(args.iter().map(|&arg| Bytes::from(arg)).collect()));
    assert_eq!(parse("PING\r\n"), args(&["PING"]));
    assert_eq!(parse("  SET  a\tb \n"), args(&["SET", "a", "b"]));
    assert_eq!(parse("SET \"a b\" 'c d'\r\n"), args(&["SET", "a b", "c d"]));
    assert_eq!(parse("SET \"\\x41\\n\\\"\" 'it\\'s'\r\n"), args(&["SET", "A\n\"", "it's"]));
    assert_eq!(parse("SET a \"\"\r\n"), args(&["SET", "a", ""]));
    assert_eq!(parse("\r\n\r\n*0\r\n*-1\r\nPING\r\n"), args(&["PING"]));
    assert_eq!(parse("SET \"a\r\n"), Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(parse("SET \"a\"b\r\n"), Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(parse("SET 'a\r\n"), Err(ProtocolError::UnbalancedQuotes));
}

#[test]
fn every_limit_is_met_from_both_sides() {
    let limits =
        Limits { bulk_bytes_max: 8, args_max: 3, inline_bytes_max: 16, request_bytes_max: 64 };
    let parse = |bytes: &[u8]| parse_all([bytes.to_vec()], limits);
    assert_eq!(parse(b"*1\r\n$8\r\n12345678\r\n").expect("at the limit").len(), 1);
    assert_eq!(parse(b"*1\r\n$9\r\n"), Err(ProtocolError::BulkLength { max: 8 }));
    assert_eq!(parse(b"*1\r\n$-1\r\n"), Err(ProtocolError::BulkLength { max: 8 }));
    assert_eq!(parse(b"*3\r\n"), Ok(vec![]));
    assert_eq!(parse(b"*4\r\n"), Err(ProtocolError::ArgumentCount { max: 3 }));
    assert_eq!(parse(b"*x\r\n"), Err(ProtocolError::ArgumentCount { max: 3 }));
    assert_eq!(parse(b"*1\r\n+OK\r\n"), Err(ProtocolError::NotABulk { got: b'+' }));
    assert_eq!(parse(b"*1\r\n$1\r\nabc"), Err(ProtocolError::LineEnd { at: 9 }));
    assert_eq!(parse(b"PING 78901234567\n").expect("at the limit").len(), 1);
    assert_eq!(parse(b"PING 789012345678\n"), Err(ProtocolError::InlineTooLong { max: 16 }));
    assert_eq!(parse(&[b'a'; 17]), Err(ProtocolError::InlineTooLong { max: 16 }));
    assert_eq!(parse(&[b'*'; 30]), Err(ProtocolError::HeaderTooLong { max: 21 }));
    let tight = Limits { request_bytes_max: 12, ..limits };
    let long = b"*2\r\n$4\r\nabcd\r\n$4\r\na".to_vec();
    assert_eq!(parse_all([long], tight), Err(ProtocolError::RequestTooLong { max: 12 }));
}
