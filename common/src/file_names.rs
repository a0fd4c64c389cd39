//! Names of files that both programs know: each makes its own, and a client never shares either's.

/// The list that says where the trackers are, and by which key to know them.
pub const TRACKER_INFO: &str = "tracker_info.txt";
/// What trackers keep for each other beside their list, unless they are told another place.
pub const CLUSTER_SECRET: &str = "cluster.secret";
/// The database of a tracker, in its data directory.
pub const TRACKER_DATABASE: &str = "tracker.db";
/// The file whose lock says that a tracker's data directory is in use.
pub const TRACKER_LOCK: &str = "tracker.lock";
/// The key of a device, in the data directory of every client.
pub const DEVICE_KEY: &str = "device.key";
/// The file whose lock says that a client's data directory is in use.
pub const CLIENT_LOCK: &str = "lock";
