-- The one schema. `flows load`, the tests and `spin up --sqlite @src/table/schema.sql` all read this file.
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

-- The guard: one row that tells one state of `flows` from another. The service reads it with every page, and
-- `flows load` writes it where these triggers would cost too much. An append changes nothing in it.
CREATE TABLE IF NOT EXISTS flows_guard (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    content INTEGER NOT NULL,  -- random; another one after every change but an append
    lineage INTEGER NOT NULL,  -- random; another one after every change that new ids do not show
    high    INTEGER NOT NULL   -- no id up to this one is given again, although its flow may be gone
) STRICT;

-- Edits may have gone unseen while a trigger was missing.
INSERT OR REPLACE INTO flows_guard
SELECT 1, random(), random(),
    max(coalesce((SELECT high FROM flows_guard), -9223372036854775808),
        coalesce((SELECT max(id) FROM flows), -9223372036854775808))
WHERE NOT EXISTS (SELECT 1 FROM flows_guard)
    OR (SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'flows' COLLATE NOCASE
        AND name GLOB 'flows_guard_*') < 4;

-- What is deleted is not given again; a reader of new ids misses nothing.
CREATE TRIGGER IF NOT EXISTS flows_guard_delete AFTER DELETE ON flows BEGIN
    UPDATE flows_guard SET content = random(), high = max(high, OLD.id);
END;

CREATE TRIGGER IF NOT EXISTS flows_guard_update AFTER UPDATE ON flows BEGIN
    UPDATE flows_guard SET content = random(), lineage = random(), high = max(high, OLD.id, NEW.id);
END;

-- REPLACE removes a row without the trigger on DELETE. From here the next trigger knows its id.
CREATE TRIGGER IF NOT EXISTS flows_guard_replace BEFORE INSERT ON flows
WHEN EXISTS (SELECT 1 FROM flows WHERE id = NEW.id) BEGIN
    UPDATE flows_guard SET high = max(high, NEW.id);
END;

-- An id that is not above all others: no reader of new ids would see it.
CREATE TRIGGER IF NOT EXISTS flows_guard_insert AFTER INSERT ON flows
WHEN NEW.id <= (SELECT high FROM flows_guard) OR NEW.id < (SELECT max(id) FROM flows) BEGIN
    UPDATE flows_guard SET content = random(), lineage = random();
END;

-- Flows counted by minute, for histograms of long windows. `flows load` keeps them; the service does without them
-- where they do not hold. A minute is named by its end, which is a multiple of 60.
CREATE TABLE IF NOT EXISTS flows_per_minute (
    until   INTEGER PRIMARY KEY,  -- for until - 60 < time <= until
    flows   INTEGER NOT NULL,
    packets INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT;

-- Which flows flows_per_minute has counted: those of one state of `flows`, up to an id.
CREATE TABLE IF NOT EXISTS flows_per_minute_state (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    content INTEGER NOT NULL,  -- that of the guard; the counts hold while the guard has it
    max_id  INTEGER NOT NULL   -- the largest id that is counted
) STRICT;
