-- The tracker's state as facts that merge: see docs/REPLICATION.md.
--
-- Every fact carries the stamp (hlc, origin) of the event that stated it. Facts about one thing that
-- are absorbing (an end, an acceptance) have a table of their own, so that they can arrive in any order.
-- Names are claims: uniqueness is a rule of the commands and not of the schema, because two
-- trackers that were cut off from each other may both have given a name away.

-- The history -------------------------------------------------------------------------------

CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    hlc INTEGER NOT NULL                -- the largest hybrid time ever seen
) STRICT;
INSERT INTO clock (one, hlc) VALUES (1, 0);

CREATE TABLE events (
    origin     BLOB    NOT NULL,        -- one run of one tracker
    seq        INTEGER NOT NULL,        -- from 1, without gaps
    hlc        INTEGER NOT NULL,
    deps       BLOB    NOT NULL,        -- what the origin had newly seen of the others
    kind       INTEGER NOT NULL,
    ver        INTEGER NOT NULL,
    device     BLOB    NOT NULL,        -- who asked, and
    request_id BLOB    NOT NULL,        -- under which id
    body       BLOB    NOT NULL,
    prev_hash  BLOB    NOT NULL,        -- of the event before it: a chain per origin
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;

-- The version vector, with the head of each origin's chain.
CREATE TABLE versions (
    origin BLOB    PRIMARY KEY,
    seq    INTEGER NOT NULL,
    hash   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Answers of commands that took effect, for clients that ask again. Pruned by age.
CREATE TABLE requests (
    device     BLOB    NOT NULL,
    request_id BLOB    NOT NULL,
    answer     BLOB    NOT NULL,
    at         INTEGER NOT NULL,        -- seconds since 1970
    PRIMARY KEY (device, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_age ON requests (at);

-- Accounts ----------------------------------------------------------------------------------

CREATE TABLE users (
    id     BLOB    PRIMARY KEY,
    name   TEXT    NOT NULL,
    hlc    INTEGER NOT NULL,
    origin BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX users_by_name ON users (name COLLATE NOCASE);

-- Every password a user ever had; the one with the largest stamp holds.
CREATE TABLE credentials (
    id      BLOB    PRIMARY KEY,
    user_id BLOB    NOT NULL,
    phc     TEXT    NOT NULL,
    hlc     INTEGER NOT NULL,
    origin  BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_by_user ON credentials (user_id);

CREATE TABLE sessions (
    id      BLOB    PRIMARY KEY,
    user_id BLOB    NOT NULL,
    device  BLOB    NOT NULL,
    expires INTEGER NOT NULL,           -- seconds since 1970
    hlc     INTEGER NOT NULL,
    origin  BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id);

-- How many passwords the user had had when the session was last bound; only grows. The session
-- counts while that is still their number.
CREATE TABLE session_bindings (
    session     BLOB    PRIMARY KEY,
    credentials INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session_ends (
    session BLOB    PRIMARY KEY,
    hlc     INTEGER NOT NULL,
    origin  BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Groups ------------------------------------------------------------------------------------

CREATE TABLE groups (
    id      BLOB    PRIMARY KEY,
    name    TEXT    NOT NULL,
    creator BLOB    NOT NULL,
    hlc     INTEGER NOT NULL,
    origin  BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX groups_by_name ON groups (name);
CREATE INDEX groups_by_likeness ON groups (name COLLATE NOCASE);

-- Who was last made admin, and on which membership. It says nothing once that membership is over.
CREATE TABLE admins (
    group_id   BLOB    PRIMARY KEY,
    user_id    BLOB    NOT NULL,
    membership BLOB    NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Requests to join; what became of each is in accepts and ends.
CREATE TABLE memberships (
    id       BLOB    PRIMARY KEY,
    group_id BLOB    NOT NULL,
    user_id  BLOB    NOT NULL,
    hlc      INTEGER NOT NULL,
    origin   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_by_group ON memberships (group_id, user_id);
CREATE INDEX memberships_by_user ON memberships (user_id);

CREATE TABLE accepts (
    membership BLOB    NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL,
    PRIMARY KEY (membership, hlc, origin)
) STRICT, WITHOUT ROWID;

-- The kicks of that user in that group which an acceptance knew of.
CREATE TABLE accept_kicks (
    membership BLOB    NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL,
    kick       BLOB    NOT NULL,
    PRIMARY KEY (membership, hlc, origin, kick)
) STRICT, WITHOUT ROWID;

CREATE TABLE kicks (
    id       BLOB    PRIMARY KEY,
    group_id BLOB    NOT NULL,
    user_id  BLOB    NOT NULL,
    hlc      INTEGER NOT NULL,
    origin   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX kicks_by_user ON kicks (group_id, user_id);

CREATE TABLE ends (
    membership BLOB    PRIMARY KEY,
    reason     INTEGER NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ends_by_time ON ends (hlc);

-- Derived: memberships that are not ended and have an acceptance that knew of every kick. Kept by the
-- same function that applies facts; (hlc, origin) is the stamp of the first such acceptance.
CREATE TABLE live (
    membership BLOB    PRIMARY KEY,
    group_id   BLOB    NOT NULL,
    user_id    BLOB    NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX live_by_group ON live (group_id, user_id);
CREATE INDEX live_by_user ON live (user_id);

-- Shares ------------------------------------------------------------------------------------

-- Named by the hash of what they say, so they need no stamp and cannot conflict.
CREATE TABLE manifests (
    id        BLOB    PRIMARY KEY,
    file_id   BLOB    NOT NULL,
    len       INTEGER NOT NULL,         -- bytes
    piece_len INTEGER NOT NULL,         -- bytes
    sha1      BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Digests of consecutive pieces, 52 bytes each, in runs that start at multiples of the run length.
CREATE TABLE manifest_pieces (
    manifest BLOB    NOT NULL,
    first    INTEGER NOT NULL,          -- number of the run's first piece
    pieces   BLOB    NOT NULL,
    PRIMARY KEY (manifest, first)
) STRICT;

CREATE TABLE publications (
    id         BLOB    PRIMARY KEY,
    group_id   BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    file_id    BLOB    NOT NULL,
    manifest   BLOB    NOT NULL,
    user_id    BLOB    NOT NULL,
    membership BLOB    NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX publications_by_name ON publications (group_id, name);
CREATE INDEX publications_by_file ON publications (group_id, file_id);
CREATE INDEX publications_by_membership ON publications (membership);

CREATE TABLE withdrawals (
    publication BLOB    PRIMARY KEY,
    hlc         INTEGER NOT NULL,
    origin      BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- What each device last said about seeding a file.
CREATE TABLE seeders (
    group_id   BLOB    NOT NULL,
    file_id    BLOB    NOT NULL,
    device     BLOB    NOT NULL,
    user_id    BLOB    NOT NULL,
    membership BLOB    NOT NULL,
    seeding    INTEGER NOT NULL,        -- 0 or 1
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL,
    PRIMARY KEY (group_id, file_id, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX seeders_by_device ON seeders (device);

-- Where devices were last seen by this tracker. Not a fact: it is never merged, only announced anew.
CREATE TABLE presence (
    device    BLOB    PRIMARY KEY,
    user_id   BLOB    NOT NULL,
    address   TEXT    NOT NULL,
    serial    INTEGER NOT NULL,
    last_seen INTEGER NOT NULL          -- seconds since 1970
) STRICT, WITHOUT ROWID;

-- Publications that members see.
CREATE VIEW listed AS
    SELECT p.*, m.len, m.piece_len, m.sha1
    FROM publications p
    JOIN live l ON l.membership = p.membership
    JOIN manifests m ON m.id = p.manifest
    WHERE NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.publication = p.id);

-- Of the publications of one file under one name, the first: it speaks for the share.
CREATE VIEW shares AS
    SELECT p.* FROM listed p
    WHERE NOT EXISTS (
        SELECT 1 FROM listed q
        WHERE q.group_id = p.group_id AND q.name = p.name AND q.file_id = p.file_id
          AND (q.hlc, q.origin) < (p.hlc, p.origin)
    );
