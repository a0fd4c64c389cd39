-- Invitations, and what came of them: see docs/REPLICATION.md. Of a secret only its hash is here.

CREATE TABLE invitations (
    id       BLOB    PRIMARY KEY,
    group_id BLOB    NOT NULL,
    user_id  BLOB    NOT NULL,          -- who made it
    number   INTEGER NOT NULL,
    secret   BLOB    NOT NULL,          -- its hash
    uses     INTEGER NOT NULL,
    expires  INTEGER NOT NULL,          -- seconds since 1970
    kicks    BLOB    NOT NULL,          -- of each run, the last removal from the group that was known
    hlc      INTEGER NOT NULL,
    origin   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE invitation_ends (
    invitation BLOB    PRIMARY KEY,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Which invitation a membership came by.
CREATE TABLE redemptions (
    membership BLOB    PRIMARY KEY,
    invitation BLOB    NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Which invitation an account was made by.
CREATE TABLE sponsors (
    user_id    BLOB    PRIMARY KEY,
    invitation BLOB    NOT NULL,
    hlc        INTEGER NOT NULL,
    origin     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to which version of events the tables have what they state: a release that does not understand one keeps it in the log
-- only, and the next one takes it from there.
CREATE TABLE understood (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    ver INTEGER NOT NULL
) STRICT;
INSERT INTO understood (one, ver) VALUES (1, 1);
