-- What two trackers need to keep each other's state: see docs/REPLICATION.md.

-- What the asker was answered: a repetition at the other tracker gets the same.
ALTER TABLE events ADD COLUMN answer BLOB NOT NULL DEFAULT (x'');
-- What an entry weighs, in bytes, so that the log can be bounded without reading it.
ALTER TABLE events ADD COLUMN weight INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_by_time ON events (hlc);

-- Events up to these are no longer in the log; the state has them.
CREATE TABLE floors (
    origin BLOB    PRIMARY KEY,
    seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Origins whose numbers were used twice. Nothing more is applied of them.
CREATE TABLE quarantines (
    origin BLOB    PRIMARY KEY,
    seq    INTEGER NOT NULL,            -- where it showed
    at     INTEGER NOT NULL             -- seconds since 1970
) STRICT, WITHOUT ROWID;

-- This tracker's votes on who owns a name. Not facts: they move, by the rule of two votes, and are
-- shipped with the claims. (hlc, origin) is the stamp of the claim.
CREATE TABLE votes (
    kind   INTEGER NOT NULL,            -- 0: user, 1: group
    name   TEXT    NOT NULL,            -- in lower case
    owner  BLOB    NOT NULL,
    hlc    INTEGER NOT NULL,
    origin BLOB    NOT NULL,
    stage  INTEGER NOT NULL,            -- 0: provisional, 1: pledged, 2: confirmed
    change INTEGER NOT NULL,            -- counts changes of this table
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX votes_by_change ON votes (change);
CREATE INDEX votes_by_owner ON votes (owner);

INSERT INTO votes (kind, name, owner, hlc, origin, stage, change)
    SELECT 0, lower(name), id, hlc, origin, 0, row_number() OVER () FROM users u
    WHERE NOT EXISTS (SELECT 1 FROM users o WHERE lower(o.name) = lower(u.name) AND (o.hlc, o.origin) < (u.hlc, u.origin));
INSERT INTO votes (kind, name, owner, hlc, origin, stage, change)
    SELECT 1, lower(name), id, hlc, origin, 0, (SELECT count(*) FROM votes) + row_number() OVER () FROM groups g
    WHERE EXISTS (SELECT 1 FROM live l WHERE l.group_id = g.id)
      AND NOT EXISTS (
        SELECT 1 FROM groups o WHERE lower(o.name) = lower(g.name) AND (o.hlc, o.origin) < (g.hlc, g.origin)
          AND EXISTS (SELECT 1 FROM live l WHERE l.group_id = o.id));

-- Names as they are shown: whoever lost the vote is told apart by its id.
CREATE VIEW user_names AS
    SELECT u.id, CASE WHEN EXISTS (SELECT 1 FROM votes v WHERE v.owner = u.id AND v.kind = 0) THEN u.name
                      ELSE u.name || '~' || lower(hex(substr(u.id, 1, 4))) END AS name
    FROM users u;
CREATE VIEW group_names AS
    SELECT g.id, CASE WHEN EXISTS (SELECT 1 FROM votes v WHERE v.owner = g.id AND v.kind = 1) THEN g.name
                      ELSE g.name || '~' || lower(hex(substr(g.id, 1, 4))) END AS name
    FROM groups g;

-- The view `shares` with the name that is shown: where two trackers that were cut off from each other
-- each gave a name to other content, the later one is told apart by its id.
DROP VIEW shares;
CREATE VIEW shares AS
    SELECT p.*, CASE
        WHEN EXISTS (SELECT 1 FROM listed o WHERE o.group_id = p.group_id AND o.name = p.name
                     AND o.file_id <> p.file_id AND (o.hlc, o.origin) < (p.hlc, p.origin))
        THEN (CASE WHEN octet_length(p.name) > 246 THEN substr(p.name, 1, 60) ELSE p.name END)
             || '~' || lower(hex(substr(p.file_id, 1, 4)))
        ELSE p.name END AS shown
    FROM listed p
    WHERE NOT EXISTS (
        SELECT 1 FROM listed q
        WHERE q.group_id = p.group_id AND q.name = p.name AND q.file_id = p.file_id
          AND (q.hlc, q.origin) < (p.hlc, p.origin)
    );
