-- What quotas count by, and what is noted of things that may be forgotten: see docs/REPLICATION.md.

CREATE INDEX groups_by_creator ON groups (creator);
CREATE INDEX publications_by_user ON publications (user_id, group_id);
CREATE INDEX publications_by_manifest ON publications (manifest);
DROP INDEX sessions_by_user;
CREATE INDEX sessions_by_user ON sessions (user_id, hlc);
CREATE INDEX sessions_by_expiry ON sessions (expires);

-- How often this tracker has looked for what may be forgotten. Time that cannot jump as clocks do.
CREATE TABLE sweeps (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL             -- seconds since 1970
) STRICT;
INSERT INTO sweeps (one, number, at) VALUES (1, 0, 0);

-- Logins that have expired, or of which only the end is known, and the sweep that found them so. Not
-- facts: each tracker forgets for itself.
CREATE TABLE fading (
    session BLOB    PRIMARY KEY,
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
