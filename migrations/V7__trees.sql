-- Trees of folders: see docs/REPLICATION.md. Named by their hash, as manifests are.

-- A folder's manifest names its tree; `plain` is the manifest that its content would have as a file.
ALTER TABLE manifests ADD COLUMN tree BLOB;
ALTER TABLE manifests ADD COLUMN plain BLOB;
CREATE INDEX manifests_by_tree ON manifests (tree) WHERE tree IS NOT NULL;

-- `number` is this tracker's own. Parts come before the tree that they belong to, and go after it.
CREATE TABLE trees (
    id      BLOB    PRIMARY KEY,
    number  INTEGER NOT NULL UNIQUE,
    bytes   INTEGER NOT NULL,           -- length of the form
    entries INTEGER NOT NULL            -- files and empty folders
) STRICT, WITHOUT ROWID;

-- The form of a tree in runs of 256 KiB.
CREATE TABLE tree_parts (
    number INTEGER NOT NULL,
    first  INTEGER NOT NULL,            -- number of the run's first byte
    bytes  BLOB    NOT NULL,
    PRIMARY KEY (number, first)
) STRICT;
