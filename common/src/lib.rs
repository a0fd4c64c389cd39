//! What both programs share: names and lengths, manifests, tickets, the wire, its codec, and the
//! encrypted connections that carry it.
//!
//! Dependencies point one way: `id <- pieces <- manifest <- wire <- codec <- connection`; `id <- tree <- wire`.
//! Nothing here knows SQLite, files on disk (but for keys), or the prompt.

pub mod address;
pub mod backoff;
pub mod codec;
pub mod connection;
pub mod escape;
pub mod file_names;
pub mod home;
pub mod id;
pub mod invitation;
pub mod look;
pub mod manifest;
pub mod pieces;
pub mod reset_code;
pub mod secret;
pub mod task;
pub mod terminal;
pub mod ticket;
pub mod tls;
pub mod tracker_info;
pub mod tree;
pub mod wire;
