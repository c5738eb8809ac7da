//! Hashes of every message, kept in `golden.txt`, so that none can change unnoticed.
//! `JAR_BLESS=1 cargo test -p jar-driver --test it golden` writes the file anew.

use std::fmt::Write;

use jar_cap::RecordId;
use jar_cap::hash::{Tag, blake2b};
use jar_driver::messages::{BLOCKS_MAX, BadMessage, RECORDS_MAX, REQUEST_BYTES_MAX, RecordIds};
use jar_driver::{BlockRef, Pivot, Request, Response, Status};
use jar_kernel::block::{Block, Body, Header};
use jar_kernel::hex;
use parity_scale_codec::Encode;

fn block_ref(byte: u8) -> BlockRef {
    BlockRef {
        hash: [byte; 32],
        height: 2,
        slot: 3,
        score: 0x0102_0304_0506_0708,
    }
}

fn status() -> Status {
    Status {
        genesis: [1; 32],
        head: block_ref(2),
        finalized: block_ref(3),
        first_height: 4,
    }
}

fn block() -> Block {
    Block {
        header: Header {
            genesis: [1; 32],
            parent: [2; 32],
            height: 3,
            slot: 4,
            body_root: [5; 32],
            state_root: [6; 32],
            outcome_root: [7; 32],
        },
        body: Body::default(),
    }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Status(status()),
        Request::Blocks { from: 7, count: 8 },
        Request::Ancestry {
            hash: [9; 32],
            count: 1,
        },
        Request::Pivot([10; 32]),
        Request::Records(RecordIds(vec![RecordId::new(Tag::TrieNode, [11; 32])])),
    ]
}

fn responses() -> Vec<Response> {
    let pivot = Pivot {
        block: block(),
        score: 5,
        instance: [6; 32],
        outcomes: Vec::new(),
    };
    vec![
        Response::Status(status()),
        Response::Blocks(vec![block()]),
        Response::Pivot(Some(Box::new(pivot))),
        Response::Records(vec![None, Some(vec![1, 2, 3])]),
        Response::Refused,
    ]
}

#[test]
fn messages_keep_their_encoding() {
    let mut table = String::new();
    for request in requests() {
        let hash = hex(&blake2b(&[&request.encode()]));
        let name = format!("{request:?}");
        let name = name.split([' ', '(']).next().expect("a name");
        writeln!(table, "Request::{name} H {hash}").expect("a string takes it");
    }
    for response in responses() {
        let hash = hex(&blake2b(&[&response.encode()]));
        let name = format!("{response:?}");
        let name = name.split([' ', '(']).next().expect("a name");
        writeln!(table, "Response::{name} H {hash}").expect("a string takes it");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden.txt");
    if std::env::var_os("JAR_BLESS").is_some() {
        std::fs::write(path, &table).expect("golden.txt is writable");
    }
    let golden = std::fs::read_to_string(path).expect("golden.txt");
    assert_eq!(table, golden, "a message's encoding changed");
}

#[test]
fn messages_are_read_as_they_were_written() {
    for request in requests() {
        assert_eq!(Request::from_bytes(&request.encode()), Ok(request));
    }
    for response in responses() {
        assert_eq!(Response::from_bytes(&response.encode()), Ok(response));
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let too_long = vec![0; REQUEST_BYTES_MAX + 1];
    assert!(matches!(
        Request::from_bytes(&too_long),
        Err(BadMessage::TooLong { .. })
    ));
    assert_eq!(Request::from_bytes(&[9]), Err(BadMessage::Encoding));
    for count in [0, BLOCKS_MAX as u32 + 1, u32::MAX] {
        let bytes = Request::Blocks { from: 0, count }.encode();
        assert_eq!(Request::from_bytes(&bytes), Err(BadMessage::Count));
    }
    let id = RecordId::new(Tag::PageLeaf, [0; 32]);
    for count in [0, RECORDS_MAX + 1] {
        let bytes = Request::Records(RecordIds(vec![id; count])).encode();
        assert_eq!(Request::from_bytes(&bytes), Err(BadMessage::Count));
    }
    let most = Request::Records(RecordIds(vec![id; RECORDS_MAX]));
    assert_eq!(Request::from_bytes(&most.encode()), Ok(most));
    let mut unknown = Request::Records(RecordIds(vec![id])).encode();
    // The tag of a record that does not exist.
    unknown[2] = 0xff;
    assert_eq!(Request::from_bytes(&unknown), Err(BadMessage::Encoding));
}

#[test]
fn an_answer_must_fit_its_question() {
    let (questions, answers) = (requests(), responses());
    let fits: Vec<Vec<bool>> = questions
        .iter()
        .map(|question| answers.iter().map(|a| question.is_answered_by(a)).collect())
        .collect();
    let expected = [
        [true, false, false, false, true],
        [false, true, false, false, true],
        [false, true, false, false, true],
        [false, false, true, false, true],
        // Two records for one id.
        [false, false, false, false, true],
    ];
    assert_eq!(fits, expected);
}
