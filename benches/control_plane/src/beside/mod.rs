//! What runs beside the trackers in the same run, so that ratios mean something: redis over TLS, plain SQLite, argon2.

pub(crate) mod argon;
pub(crate) mod redis;
pub(crate) mod sqlite;
