//! The local interface of a running client: HTTP/1.1 on a socket that only its owner can open, and the side that uses it.
//!
//! - `POST /v1/<command>` takes a JSON object, whose fields are the arguments of the command table with `_` for `-`, and answers
//!   with the object of `--json`. With `Accept: text/event-stream` it answers with `progress` events and one `result`
//!   event. `download_file` answers when the file is there; with `Prefer: respond-async` (RFC 7240), as soon as it has begun.
//! - `GET /v1/events` is a stream of server-sent events: one `status` at once, then whatever happens.
//! - `GET /v1/openapi.json` describes all of it.
//! - A face that takes the client's place when that ends says so with each request (`shoal-successor: yes`): the end of the
//!   client costs it no more than the call that it waits for.
//!
//! Every other face is a client of this one when it is in another process (see [`attach`]). Not a goal: other machines, other
//! users.

mod answer;
pub(super) mod arguments;
pub(crate) mod attach;
mod event_stream;
mod openapi;
mod server;
mod shapes;
pub(crate) mod socket;

#[cfg(test)]
mod tests;

pub(crate) use self::server::Control;

/// Longest body of a call, in bytes: far beyond any command.
const MAX_BODY: usize = 64 << 10;
/// Media type of streams of events.
const EVENT_STREAM: &str = "text/event-stream";
/// What asks for an answer as soon as a download has begun: `Prefer: respond-async` (RFC 7240, section 4.1).
const RESPOND_ASYNC: &str = "respond-async";
/// Header of what a face asks that takes the client's place when that ends.
const SUCCESSOR: &str = "shoal-successor";
/// Name of the last event of a call's stream.
const RESULT: &str = "result";
