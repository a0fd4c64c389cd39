-- Publications that were withdrawn cost nothing any more: they are in no index that listings and uploads use, and what
-- one content or one name is asked for is found along an index. See docs/REPLICATION.md.

-- Derived from withdrawals by the triggers below, so that indexes can leave out what is 1.
ALTER TABLE publications ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
UPDATE publications SET withdrawn = 1 WHERE EXISTS (SELECT 1 FROM withdrawals w WHERE w.publication = id);

CREATE TRIGGER published AFTER INSERT ON publications
WHEN EXISTS (SELECT 1 FROM withdrawals w WHERE w.publication = new.id)
BEGIN
    UPDATE publications SET withdrawn = 1 WHERE id = new.id;
END;
CREATE TRIGGER withdrawn AFTER INSERT ON withdrawals
BEGIN
    UPDATE publications SET withdrawn = 1 WHERE id = new.publication;
END;
CREATE TRIGGER withdrawn_no_more AFTER DELETE ON withdrawals
BEGIN
    UPDATE publications SET withdrawn = 0 WHERE id = old.publication;
END;

DROP INDEX publications_by_name;
DROP INDEX publications_by_file;
DROP INDEX publications_by_membership;
CREATE INDEX publications_by_name ON publications (group_id, name, file_id, hlc, origin) WHERE withdrawn = 0;
CREATE INDEX publications_by_file ON publications (group_id, file_id, hlc, origin) WHERE withdrawn = 0;
CREATE INDEX publications_by_membership ON publications (membership, name, file_id) WHERE withdrawn = 0;
CREATE INDEX publications_in_group ON publications (user_id, group_id, membership) WHERE withdrawn = 0;

DROP VIEW shares;
DROP VIEW listed;

-- Publications that members see.
CREATE VIEW listed AS
    SELECT p.*, m.len, m.piece_len, m.sha1
    FROM publications p
    CROSS JOIN live l ON l.membership = p.membership
    CROSS JOIN manifests m ON m.id = p.manifest
    WHERE p.withdrawn = 0;

-- Of the publications of one file under one name, the first: it speaks for the share. Where two trackers that were cut
-- off from each other each gave a name to other content, the later one is told apart by its id. Both look along
-- one index, whatever the statistics say: one content may have thousands of names.
CREATE VIEW shares AS
    SELECT p.*, CASE
        WHEN EXISTS (
            SELECT 1 FROM publications o INDEXED BY publications_by_name
            CROSS JOIN live l ON l.membership = o.membership CROSS JOIN manifests m ON m.id = o.manifest
            WHERE o.withdrawn = 0 AND o.group_id = p.group_id AND o.name = p.name
              AND o.file_id <> p.file_id AND (o.hlc, o.origin) < (p.hlc, p.origin))
        THEN (CASE WHEN octet_length(p.name) > 246 THEN substr(p.name, 1, 60) ELSE p.name END)
             || '~' || lower(hex(substr(p.file_id, 1, 4)))
        ELSE p.name END AS shown
    FROM listed p
    WHERE NOT EXISTS (
        SELECT 1 FROM publications q INDEXED BY publications_by_name
        CROSS JOIN live l ON l.membership = q.membership CROSS JOIN manifests m ON m.id = q.manifest
        WHERE q.withdrawn = 0 AND q.group_id = p.group_id AND q.name = p.name AND q.file_id = p.file_id
          AND (q.hlc, q.origin) < (p.hlc, p.origin)
    );
