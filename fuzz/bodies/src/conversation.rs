//! A conversation made step by step (messages, runs of raw bytes, other limits, something broken at
//! the end) and read in the same steps: everything arrives as it was said, in order.

use std::fmt::Debug;
use std::sync::LazyLock;

use common::codec;
use common::connection::FrameReader;
use common::wire::client::{ClientFrame, ServerFrame};
use common::wire::limits::MAX_FRAME;
use common::wire::peer::{LeecherFrame, SeederFrame};
use serde::de::DeserializeOwned;

use crate::frames::{End, LIMITS, framed, read};
use crate::golden;
use crate::input::Input;
use crate::trickle::{Trickle, finish};

/// Most steps of one conversation.
const STEPS: usize = 64;

/// What each of the four may say.
static SAMPLES: LazyLock<[Vec<Vec<u8>>; 4]> =
    LazyLock::new(|| ["ClientFrame", "ServerFrame", "LeecherFrame", "SeederFrame"].map(golden::bytes));

/// What the reader does, and what it must find.
#[derive(Debug)]
enum Step<M> {
    Limit(usize),
    Message(M),
    Raw(Vec<u8>),
    End(End),
}

/// What kind of message, which parts; then the steps.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => converse::<ClientFrame>(&mut input, &SAMPLES[0]),
        1 => converse::<ServerFrame>(&mut input, &SAMPLES[1]),
        2 => converse::<LeecherFrame>(&mut input, &SAMPLES[2]),
        _ => converse::<SeederFrame>(&mut input, &SAMPLES[3]),
    }
}

fn converse<M: DeserializeOwned + PartialEq + Debug>(input: &mut Input<'_>, samples: &[Vec<u8>]) {
    let (seed, cancel) = (input.u16(), input.flag());
    let (steps, stream) = plan::<M>(input, samples);
    let mut reader = FrameReader::new(Trickle::new(&stream, seed), MAX_FRAME);
    for step in steps {
        match step {
            Step::Limit(limit) => reader.set_limit(limit),
            Step::Message(expected) => assert_eq!(read(&mut reader, cancel), Ok(expected)),
            Step::Raw(expected) => {
                let mut raw = vec![0; expected.len()];
                finish(reader.read_raw(&mut raw)).expect("as many raw bytes as were sent");
                assert!(raw == expected, "{} raw bytes arrive changed", raw.len());
            }
            Step::End(end) => return assert_eq!(read::<M>(&mut reader, cancel), Err(end)),
        }
    }
    assert_eq!(read::<M>(&mut reader, cancel), Err(End::Clean));
}

/// The steps and the bytes that go over the stream.
fn plan<M: DeserializeOwned>(input: &mut Input<'_>, samples: &[Vec<u8>]) -> (Vec<Step<M>>, Vec<u8>) {
    let (mut steps, mut stream, mut limit) = (Vec::new(), Vec::new(), MAX_FRAME);
    while !input.is_empty() && steps.len() < STEPS {
        let step = match input.byte() % 8 {
            0..=3 => message(input.one_of(samples).as_slice(), limit, &mut stream),
            4 => {
                let body = input.byte();
                message(input.take(body.into()), limit, &mut stream)
            }
            5 => {
                let (len, fill) = (input.u16() % 6000, input.byte());
                let raw: Vec<u8> = (0..len).map(|i| fill.wrapping_add((i % 251) as u8)).collect();
                stream.extend(&raw);
                Step::Raw(raw)
            }
            6 => {
                limit = *input.one_of(&LIMITS);
                Step::Limit(limit)
            }
            _ => broken(input, limit, &mut stream),
        };
        let last = matches!(step, Step::End(_));
        steps.push(step);
        if last {
            break;
        }
    }
    (steps, stream)
}

fn message<M: DeserializeOwned>(body: &[u8], limit: usize, stream: &mut Vec<u8>) -> Step<M> {
    stream.extend(framed(body));
    if body.len() > limit {
        return Step::End(End::TooLong(body.len()));
    }
    codec::decode(body, limit).map_or(Step::End(End::Malformed), Step::Message)
}

/// An announcement above the limit, or a frame that is cut short.
fn broken<M>(input: &mut Input<'_>, limit: usize, stream: &mut Vec<u8>) -> Step<M> {
    let announced = input.u32();
    stream.extend(announced.to_be_bytes());
    let len = announced as usize;
    if len > limit {
        return Step::End(End::TooLong(len));
    }
    let there = input.below(256).min(len.saturating_sub(1));
    stream.resize(stream.len() + there, 0);
    if len == 0 {
        // No message is empty.
        return Step::End(End::Malformed);
    }
    Step::End(End::Cut)
}

/// Everything once, in order, with runs and limits in between.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..4u8)
        .map(|kind| {
            let messages = (0..6).flat_map(|i| [0, i, 5, 1, i, 77]);
            let ends = [6, 2, 4, 2, 0, 0, 7, 0, 0, 0, 9, 3];
            [kind, 0, kind, kind].into_iter().chain(messages).chain(ends).collect()
        })
        .collect()
}
