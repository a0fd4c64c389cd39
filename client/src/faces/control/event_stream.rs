//! Server-sent events (HTML Living Standard, section 9.2), as far as they are used here: each has a name and one line of data.

use std::collections::VecDeque;

use axum::response::sse;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::Event;

/// Longest event that is taken, in bytes: a listing of everything a client has.
const MAX_EVENT: usize = 64 << 20;

/// An event of an engine as it is sent.
pub(super) fn encode(event: &Event) -> sse::Event {
    match event {
        Event::Progress(progress) => named("progress", progress),
        Event::News(news) => named("news", news),
        Event::Download(change) => named("download", change),
        Event::Share(change) => named("share", change),
        Event::Status(status) => named("status", status),
    }
}

/// An event of an engine as it was read; `None` if it is of a release that knows more.
pub(super) fn decode(read: &Read) -> Option<Event> {
    match read.name.as_str() {
        "progress" => read.json().map(Event::Progress),
        "news" => read.json().map(Event::News),
        "download" => read.json().map(Event::Download),
        "share" => read.json().map(Event::Share),
        "status" => read.json().map(Event::Status),
        _ => None,
    }
}

/// An event with this name and this data.
pub(super) fn named(name: &str, data: &impl Serialize) -> sse::Event {
    // Maps have string keys and nothing else can fail.
    sse::Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

/// An event that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) name: String,
    pub(super) data: String,
}

impl Read {
    /// Its data, if it is of this type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        let parsed = serde_json::from_str(&self.data);
        parsed.inspect_err(|error| tracing::debug!(%error, name = self.name, "an event was not understood")).ok()
    }
}

/// Cuts bytes as they come into events.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    name: String,
    data: String,
    read: VecDeque<Read>,
}

impl Reader {
    /// Takes bytes in; `false` if an event is longer than any that is sent.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.bytes.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.bytes);
                self.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            }
        }
        self.bytes.len() + self.data.len() <= MAX_EVENT
    }

    /// The next event that is complete.
    pub(super) fn next(&mut self) -> Option<Read> {
        self.read.pop_front()
    }

    fn line(&mut self, line: &str) {
        let value = |rest: &str| rest.strip_prefix(' ').unwrap_or(rest).to_owned();
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            self.read.extend((!data.is_empty()).then_some(Read { name, data }));
        } else if let Some(rest) = line.strip_prefix("event:") {
            self.name = value(rest);
        } else if let Some(rest) = line.strip_prefix("data:") {
            self.data += &value(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_their_bytes_come() {
        let bytes = ": a comment\n\nevent: news\ndata: {\"a\":\"ü\"}\n\nevent:result\r\ndata:{}\r\n\r\nevent: cut";
        let expected = [("news", "{\"a\":\"ü\"}"), ("result", "{}")];
        let expected = expected.map(|(name, data)| Read { name: name.to_owned(), data: data.to_owned() });
        for size in 1..bytes.len() {
            let mut reader = Reader::default();
            assert!(bytes.as_bytes().chunks(size).all(|chunk| reader.feed(chunk)));
            let read: Vec<_> = std::iter::from_fn(|| reader.next()).collect();
            assert_eq!(read, expected, "in chunks of {size}");
        }
    }
}
