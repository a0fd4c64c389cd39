//! The link between two trackers as both models see it: numbered connections, messages in order
//! within one of them, everything unread lost when it drops.
//!
//! Participants: two [`Side`]s. Each notices the loss of a connection at its own time, so one of them
//! may still read from, and write to, a connection that the other has given up (half-open). A side
//! that finds a newer connection leaves the older one and never reads from it again.
//!
//! A crash and restart of a tracker is a [`Link::drop_end`]: all that the models keep is durable, and
//! what was committed but not yet shipped looks to the other side like a message that was lost.
//!
//! Not covered: messages that are altered, repeated or reordered within a connection (TLS over TCP
//! excludes them).

/// One of the two trackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The tracker at which, by symmetry, the first command of a history arrives.
    A,
    /// Its sibling.
    B,
}

impl Side {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The sibling.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What messages of a connection that has been given up are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldConnections {
    /// Nothing: they are dropped with it. The rule.
    Discarded,
    /// They are handled late, as by a queue that does not record the connection. A mutant.
    Handled,
}

/// One side's end of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct End {
    /// The newest connection this side has been on; 0 before the first.
    connection: u8,
    /// Whether it still is on it.
    up: bool,
}

/// The link, with what is in flight on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link<M> {
    /// Number of the newest connection.
    newest: u8,
    ends: [End; 2],
    /// Towards each side: (connection, message), oldest first.
    wires: [Vec<(u8, M)>; 2],
}

impl<M> Default for Link<M> {
    fn default() -> Self {
        Self { newest: 0, ends: [End::default(); 2], wires: [Vec::new(), Vec::new()] }
    }
}

impl<M> Link<M> {
    fn end(&self, side: Side) -> End {
        self.ends[side as usize]
    }

    /// Whether `side` believes to be connected.
    pub fn is_up(&self, side: Side) -> bool {
        self.end(side).up
    }

    /// Whether both are on the same connection and nothing is in flight.
    pub fn is_quiet(&self) -> bool {
        self.ends.iter().all(|end| end.up && end.connection == self.newest) && self.wires.iter().all(Vec::is_empty)
    }

    /// Whether `side` can get onto a connection newer than the one it is on.
    pub fn can_connect(&self, side: Side) -> bool {
        !self.end(side).up || self.end(side).connection < self.newest
    }

    /// `side` gets onto the newest connection, opening one if it has been on all there were.
    pub fn connect(&mut self, side: Side, old: OldConnections) {
        if self.end(side).connection == self.newest {
            self.newest += 1;
        }
        self.ends[side as usize] = End { connection: self.newest, up: true };
        if old == OldConnections::Discarded {
            let newest = self.newest;
            self.wires[side as usize].retain(|(connection, _)| *connection == newest);
        }
    }

    /// Whether the other has given up the connection that `side` is on, so that `side` will find out.
    pub fn is_dead(&self, side: Side) -> bool {
        let (end, other) = (self.end(side), self.end(side.other()));
        end.up && other.connection == end.connection && !other.up
    }

    /// `side` gives its connection up: what it has not read is lost.
    pub fn drop_end(&mut self, side: Side, old: OldConnections) {
        let end = &mut self.ends[side as usize];
        end.up = false;
        let connection = end.connection;
        if old == OldConnections::Discarded {
            self.wires[side as usize].retain(|(c, _)| *c > connection);
        }
    }

    /// Puts a message in flight towards the sibling of `from`; into the void if nobody will read it.
    pub fn send(&mut self, from: Side, message: M) {
        let (end, other) = (self.end(from), self.end(from.other()));
        let given_up = other.connection > end.connection || (other.connection == end.connection && !other.up);
        if end.up && !given_up {
            self.wires[from.other() as usize].push((end.connection, message));
        }
    }

    /// Whether `side` has a message to read.
    pub fn can_receive(&self, side: Side, old: OldConnections) -> bool {
        let end = self.end(side);
        self.wires[side as usize].first().is_some_and(|(connection, _)| match old {
            OldConnections::Discarded => end.up && *connection == end.connection,
            OldConnections::Handled => *connection < end.connection || (end.up && *connection == end.connection),
        })
    }

    /// Takes the oldest message towards `side`.
    pub fn receive(&mut self, side: Side) -> Option<M> {
        let wire = &mut self.wires[side as usize];
        if wire.is_empty() { None } else { Some(wire.remove(0).1) }
    }
}
