//! Goal: no byte from a socket can panic a node, make it take memory, or pass as something else.
//! Method: every single bit of a frame is flipped and every truncation tried; random bytes are
//! decoded; a frame with each bound broken is refused with the error that names it.

use proptest::prelude::*;
use whimbrel_migrate::{Attempt, Frame, FrameError, Header, Kind, MigrationId, Slot};
use whimbrel_migrate::{HEADER_LEN, MAX_CONTENT};

fn attempt() -> Attempt {
    let slot = Slot::new(16_383).expect("the last slot");
    Attempt { id: MigrationId::from_u64(0x0123_4567_89ab_cdef), slot, epoch: 42 }
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let frame = Frame::new(attempt(), Kind::Round, 7, b"some content".to_vec());
    let bytes = encoded(&frame);
    assert_eq!(Frame::decode(&bytes), Ok((frame, bytes.len())));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::decode(&damaged).is_err(), "bit {bit} was not noticed");
    }
    for cut in 0..bytes.len() {
        assert_eq!(Frame::decode(&bytes[..cut]).map(|_| ()), Err(FrameError::Content));
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_memory_is_taken() {
    let mut bytes = encoded(&Frame::new(attempt(), Kind::Block, 0, Vec::new()));
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let head = bytes.first_chunk::<HEADER_LEN>().expect("a whole header");
    let refused = FrameError::TooLong { len: u32::MAX, max: MAX_CONTENT };
    assert_eq!(Header::decode(head), Err(refused));
}

#[test]
fn long_content_travels_in_parts() {
    let long: Vec<u8> =
        (0..MAX_CONTENT + 5).map(|i| u8::try_from(i % 251).expect("< 256")).collect();
    let parts: Vec<Frame> = Frame::parts(attempt(), Kind::Block, 3, &long).collect();
    assert_eq!(parts.iter().map(|p| p.more).collect::<Vec<_>>(), [true, false]);
    assert_eq!(parts.iter().flat_map(|p| p.content.clone()).collect::<Vec<_>>(), long);
    let empty: Vec<Frame> = Frame::parts(attempt(), Kind::Round, 0, &[]).collect();
    assert_eq!(empty, [Frame::new(attempt(), Kind::Round, 0, Vec::new())]);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::decode(&bytes);
        let mut marked = b"WB\x01\x07".to_vec();
        marked.extend_from_slice(&bytes);
        prop_assert!(Frame::decode(&marked).is_err());
    }
}
