-- What the device remembers (rule P30). No mere projection: it outlives the log that brought it, so cue and content stand here
-- themselves. Trimming the log takes nothing from memory, and forgetting takes it out of both. `position` grows with each
-- change of a row: what an index has not seen yet. `key`: by which items that speak of the same are found.
CREATE TABLE memory_item (
    item          TEXT    PRIMARY KEY,
    position      INTEGER NOT NULL UNIQUE,
    sort          TEXT    NOT NULL,
    scope         TEXT    NOT NULL,
    author        TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    cue           BLOB    NOT NULL,
    content       BLOB    NOT NULL,
    labels        TEXT    NOT NULL,      -- a JSON array
    at_ms         INTEGER NOT NULL,
    valid_from_ms INTEGER,
    task          TEXT,
    node          INTEGER,
    epoch         BLOB    NOT NULL,
    seq           INTEGER NOT NULL,
    mac           BLOB    NOT NULL,
    until_ms      INTEGER,               -- from here on: the latest memory.changed
    reason        TEXT,
    other         TEXT,
    successes     INTEGER NOT NULL DEFAULT 0,
    failures      INTEGER NOT NULL DEFAULT 0,
    changed_mac   BLOB
) WITHOUT ROWID;
CREATE INDEX memory_by_sort ON memory_item (sort, position);
CREATE INDEX memory_by_key ON memory_item (sort, key);
CREATE INDEX memory_by_task ON memory_item (task, node);

-- Items that were forgotten: a log that is read again brings none of them back.
CREATE TABLE memory_forgotten (
    item TEXT PRIMARY KEY
) WITHOUT ROWID;

-- Whether the device has thought about remembering this work, whatever came of it.
ALTER TABLE node ADD COLUMN is_remembered INTEGER NOT NULL DEFAULT 0;

-- Requests of the hub to forget something, as long as the journal has no answer; and the device's own, until the hub confirms.
CREATE TABLE forget_request (
    request   TEXT PRIMARY KEY,
    about     BLOB,                      -- what is to be forgotten, until it is
    epoch     BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    items     INTEGER NOT NULL DEFAULT 0,
    contents  INTEGER NOT NULL DEFAULT 0,
    kept      INTEGER NOT NULL DEFAULT 0,
    done_ms   INTEGER,
    hub_ms    INTEGER,                   -- when the hub confirmed it
    retracted INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Questions to the hub (rule P31), by the call that asked. `answer` NULL: it has not answered yet.
CREATE TABLE hub_question (
    task       TEXT    NOT NULL,
    node       INTEGER NOT NULL,
    call       INTEGER NOT NULL,
    asked_ms   INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    answer     BLOB,
    is_known   INTEGER,
    labels     TEXT,
    order_epoch BLOB,
    order_seq  INTEGER,
    amended_seq INTEGER,                 -- the record that brought it to whoever had asked
    PRIMARY KEY (task, node, call)
) WITHOUT ROWID;
