//! Messages between client and tracker: what decodes can be sent on unchanged, and what people get
//! to see of it cannot steer their terminal.

use std::fmt::Debug;

use common::codec;
use common::wire::client::{Call, ClientFrame, Push, Reply, Request, Response, ServerFrame};
use common::wire::limits::{MAX_FRAME, MAX_FRAME_BEFORE_LOGIN};
use common::wire::refusal::Refusal;

use crate::{golden, harmless, stable};

/// Who speaks (the first byte), then one message.
pub fn run(data: &[u8]) {
    let Some((who, bytes)) = data.split_first() else { return };
    if who % 2 == 0 {
        let frame = stable::<ClientFrame>(bytes, MAX_FRAME);
        let before_login = codec::decode::<ClientFrame>(bytes, MAX_FRAME_BEFORE_LOGIN).ok();
        assert_eq!(before_login, frame.clone().filter(|_| bytes.len() <= MAX_FRAME_BEFORE_LOGIN));
        if let Some(frame) = frame {
            logged(&frame);
        }
    } else if let Some(frame) = stable::<ServerFrame>(bytes, MAX_FRAME) {
        logged(&frame);
        if let ServerFrame::Reply(Reply { result: Err(refusal), .. }) = frame {
            harmless(&refusal.to_string());
        }
    }
}

/// A message in a log is one line.
fn logged(frame: &impl Debug) {
    assert!(!format!("{frame:?}").contains(char::is_control), "{frame:?}");
}

/// Every sample, each request in a call and each answer in a reply.
pub fn seeds() -> Vec<Vec<u8>> {
    let encode = |frame: &ServerFrame| codec::encode(frame, MAX_FRAME).expect("a short message");
    let mut client = golden::bytes("ClientFrame");
    for frame in golden::values::<ClientFrame>("ClientFrame") {
        let ClientFrame::Call(call) = frame else { continue };
        client.extend(golden::values::<Request>("Request").into_iter().map(|request| {
            let call = ClientFrame::Call(Call { request, ..call.clone() });
            codec::encode(&call, MAX_FRAME).expect("a short message")
        }));
    }
    let mut server = golden::bytes("ServerFrame");
    server.extend(golden::values::<Push>("Push").into_iter().map(|push| encode(&ServerFrame::Push(push))));
    for frame in golden::values::<ServerFrame>("ServerFrame") {
        let ServerFrame::Reply(reply) = frame else { continue };
        let responses = golden::values::<Response>("Response").into_iter().map(Ok);
        let refusals = golden::values::<Refusal>("Refusal").into_iter().map(Err);
        server.extend(
            responses.chain(refusals).map(|result| encode(&ServerFrame::Reply(Reply { result, ..reply.clone() }))),
        );
    }
    [golden::after(0, client), golden::after(1, server)].concat()
}
