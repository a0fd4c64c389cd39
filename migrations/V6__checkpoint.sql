-- The log is what is durable, and the state is in memory: the tables of facts are a checkpoint that is written behind, read
-- at a start and shipped to the other tracker, and asked nothing else. See docs/REPLICATION.md.

-- Of each origin, up to which event the tables of facts have everything. What follows is in the log.
CREATE TABLE checkpoints (
    origin BLOB    PRIMARY KEY,
    seq    INTEGER NOT NULL,
    hash   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO checkpoints (origin, seq, hash) SELECT origin, seq, hash FROM versions;

DROP VIEW shares;
DROP VIEW listed;
DROP VIEW user_names;
DROP VIEW group_names;
DROP TABLE live;
DROP TABLE looks;
DROP TABLE looks_version;
DROP TRIGGER published;
DROP TRIGGER withdrawn;
DROP TRIGGER withdrawn_no_more;

DROP INDEX users_by_name;
DROP INDEX credentials_by_user;
DROP INDEX sessions_by_user;
DROP INDEX groups_by_name;
DROP INDEX groups_by_likeness;
DROP INDEX groups_by_creator;
DROP INDEX memberships_by_group;
DROP INDEX memberships_by_user;
DROP INDEX kicks_by_user;
DROP INDEX ends_by_time;
DROP INDEX publications_by_name;
DROP INDEX publications_by_file;
DROP INDEX publications_by_membership;
DROP INDEX publications_in_group;
DROP INDEX publications_by_user;
DROP INDEX seeders_by_device;
DROP INDEX votes_by_owner;
ALTER TABLE publications DROP COLUMN withdrawn;

-- Memberships that are not ended and have an acceptance that knew of every kick, by the stamp of the first such
-- acceptance: what the state in memory is checked against.
CREATE VIEW live AS
    SELECT id AS membership, group_id, user_id, hlc, origin FROM (
        SELECT m.id, m.group_id, m.user_id, a.hlc, a.origin,
               row_number() OVER (PARTITION BY m.id ORDER BY a.hlc, a.origin) AS place
        FROM memberships m JOIN accepts a ON a.membership = m.id
        WHERE NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = m.id)
          AND NOT EXISTS (
              SELECT 1 FROM kicks k
              WHERE k.group_id = m.group_id AND k.user_id = m.user_id
                AND NOT EXISTS (
                    SELECT 1 FROM accept_kicks s
                    WHERE s.membership = a.membership AND s.hlc = a.hlc AND s.origin = a.origin
                      AND s.kick = k.id))
    ) WHERE place = 1;
