//! Goal: the order of encoded tuples is the order of the tuples, in both directions of every field,
//! and decoding inverts encoding and refuses everything else.
//! Method: random tuples of every kind, biased to the edges of each; arbitrary bytes for decoding.

use std::cmp::Ordering;

use proptest::prelude::*;
use whimbrel::encoding::{decode_tuple, encode_tuple};
use whimbrel::{Direction, Error, Value};

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::num::f64::ANY,
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            -f64::MIN_POSITIVE,
            5e-324,
            -5e-324,
            f64::MAX,
            f64::MIN,
        ]),
        (-4i8..4).prop_map(f64::from),
    ]
}

fn int() -> impl Strategy<Value = i64> {
    let edges = (0u32..64, -2i64..=2).prop_map(|(shift, by)| (1i64 << shift).wrapping_add(by));
    prop_oneof![any::<i64>(), edges.clone(), edges.prop_map(i64::wrapping_neg), -3i64..3]
}

/// Bytes from an alphabet that makes escapes, ends and shared beginnings likely.
fn edgy_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xFE, 0xFF, b'a', 0x40]), 0..5)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,6}",
        prop::collection::vec(
            prop::sample::select(vec!['\0', '\u{1}', 'a', 'b', '\u{10FFFF}']),
            0..5
        )
        .prop_map(|chars| chars.into_iter().collect()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        int().prop_map(Value::Int),
        float().prop_map(Value::Float),
        int().prop_map(Value::Timestamp),
        text().prop_map(Value::Str),
        edgy_bytes().prop_map(Value::Bytes),
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(vec![Direction::Ascending, Direction::Descending])
}

/// Two tuples of one shape, often with equal elements, and the direction of each element.
fn two_tuples() -> impl Strategy<Value = Vec<(Value, Value, Direction)>> {
    let pair = prop_oneof![
        3 => (value(), value()),
        1 => value().prop_map(|v| (v.clone(), v)),
        1 => (int(), int()).prop_map(|(a, b)| (Value::Int(a), Value::Int(b))),
        1 => (float(), float()).prop_map(|(a, b)| (Value::Float(a), Value::Float(b))),
        1 => (text(), text()).prop_map(|(a, b)| (Value::Str(a), Value::Str(b))),
    ];
    prop::collection::vec((pair, direction()).prop_map(|((a, b), d)| (a, b, d)), 1..4)
}

fn tuple_order(elements: &[(Value, Value, Direction)]) -> Ordering {
    elements
        .iter()
        .map(|(a, b, d)| match d {
            Direction::Ascending => a.cmp(b),
            Direction::Descending => b.cmp(a),
        })
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn encoded_order_is_tuple_order(elements in two_tuples(), tails in (edgy_bytes(), edgy_bytes())) {
        let directions: Vec<_> = elements.iter().map(|e| e.2).collect();
        let a: Vec<_> = elements.iter().map(|e| e.0.clone()).collect();
        let b: Vec<_> = elements.iter().map(|e| e.1.clone()).collect();
        let mut left = encode_tuple(&a, &directions);
        let mut right = encode_tuple(&b, &directions);
        prop_assert_eq!(left.cmp(&right), tuple_order(&elements));
        // With document ids behind them: the tuple decides first, then the id.
        left.extend_from_slice(&tails.0);
        right.extend_from_slice(&tails.1);
        prop_assert_eq!(left.cmp(&right), tuple_order(&elements).then(tails.0.cmp(&tails.1)));
    }

    #[test]
    fn decoding_inverts(elements in prop::collection::vec((value(), direction()), 0..5), tail in edgy_bytes()) {
        let (values, directions): (Vec<_>, Vec<_>) = elements.into_iter().unzip();
        let mut bytes = encode_tuple(&values, &directions);
        bytes.extend_from_slice(&tail);
        let (back, rest) = decode_tuple(&bytes, &directions).unwrap();
        prop_assert_eq!(back, values);
        prop_assert_eq!(rest, &tail[..]);
    }

    #[test]
    fn truncation_is_refused(values in prop::collection::vec(value(), 1..4), d in direction()) {
        let directions = vec![d; values.len()];
        let bytes = encode_tuple(&values, &directions);
        for end in 0..bytes.len() {
            let refused = decode_tuple(&bytes[..end], &directions);
            let is_corrupt = matches!(refused, Err(Error::Corrupt { .. }));
            prop_assert!(is_corrupt, "{} of {} bytes", end, bytes.len());
        }
    }

    #[test]
    fn what_decodes_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..24), tag in 0u8..0x50, d in direction()) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = if d == Direction::Ascending { tag } else { !tag };
        }
        if let Ok((values, rest)) = decode_tuple(&bytes, &[d]) {
            prop_assert_eq!(encode_tuple(&values, &[d]), &bytes[..bytes.len() - rest.len()]);
        }
    }
}

#[test]
fn known_bytes() {
    use Direction::{Ascending, Descending};
    let one = |v: Value, d| encode_tuple(&[v], &[d]);
    assert_eq!(one(Value::Int(0), Ascending), [0x20]);
    assert_eq!(one(Value::Int(258), Ascending), [0x22, 1, 2]);
    assert_eq!(one(Value::Int(-258), Ascending), [0x1E, 0xFE, 0xFD]);
    assert_eq!(
        one(Value::Int(i64::MIN), Ascending),
        [0x18, 0x7F, 255, 255, 255, 255, 255, 255, 255]
    );
    assert_eq!(one("a\0b".into(), Ascending), [0x40, b'a', 0, 0xFF, b'b', 0, 1]);
    assert_eq!(one("a".into(), Descending), [0xBF, !b'a', 0xFF, 0xFE]);
    assert_eq!(one(Value::Null, Descending), [0xF7]);
}

#[test]
fn other_ways_to_write_a_value_are_refused() {
    for bytes in [
        &[0x21, 0][..],                                   // 0 in one byte
        &[0x22, 0, 9],                                    // a leading zero
        &[0x1E, 0xFF, 0xF0],                              // the same, negative
        &[0x28, 0x80, 0, 0, 0, 0, 0, 0, 0],               // 2^63
        &[0x18, 0x7F, 255, 255, 255, 255, 255, 255, 254], // -2^63 - 1
        &[0x30, 0x7F, 255, 255, 255, 255, 255, 255, 255], // -0.0
        &[0x30, 0xFF, 0xF8, 0, 0, 0, 0, 0, 1],            // another NaN
        &[0x40, 0xC3, 0, 1],                              // not UTF-8
        &[0x40, b'a', 0, 2],                              // an escape that is none
        &[0x07],                                          // a tag that is none
    ] {
        let refused = decode_tuple(bytes, &[Direction::Ascending]);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{bytes:02x?}: {refused:?}");
    }
}
