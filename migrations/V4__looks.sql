-- What names of shares look like, where that is not the name itself: derived from publications by the program, which
-- makes all rows anew when the version is not its own. See docs/SECURITY.md.

CREATE TABLE looks (
    group_id BLOB NOT NULL,
    look     TEXT NOT NULL,
    name     TEXT NOT NULL,
    PRIMARY KEY (group_id, look, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE looks_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO looks_version (one, version) VALUES (1, 0);
