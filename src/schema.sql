-- The one schema. `flows load`, the tests and `spin up --sqlite @src/schema.sql` all read this file.
-- Columns and their order are those of LANL's flows.txt (Kent 2015, doi 10.17021/1179829); `id` is the
-- row's number, since the published rows hold exact duplicates and no key of their own.
CREATE TABLE IF NOT EXISTS flows (
    id           INTEGER PRIMARY KEY,
    time         INTEGER NOT NULL,  -- seconds since the start of the data set, from 1; not a Unix time
    duration     INTEGER NOT NULL,  -- seconds
    src_comp     TEXT    NOT NULL,
    src_port     TEXT    NOT NULL,  -- a well-known port's number, or a name like N10451
    dst_comp     TEXT    NOT NULL,
    dst_port     TEXT    NOT NULL,
    protocol     INTEGER NOT NULL,  -- IANA protocol number
    packet_count INTEGER NOT NULL,  -- packets
    byte_count   INTEGER NOT NULL   -- bytes
);

-- A window is walked along this index in the order of (time, id); SQLite keeps `id` as its last part.
CREATE INDEX IF NOT EXISTS flows_time ON flows (time);
