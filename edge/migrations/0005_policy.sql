-- Rules: what the monitor was asked and answered, what waits for people, and the bundles that were ordered.

-- When the outcome of an effect was written: how old what a tool told is.
ALTER TABLE effect ADD COLUMN result_ms INTEGER;
-- The labels of that outcome, of a node's request, and for whom it is done: JSON.
ALTER TABLE effect ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE node ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE node ADD COLUMN asker_hash BLOB;

-- Calls that were let through, for rates and counts; older ones than the longest span are forgotten.
CREATE TABLE called (
    position INTEGER PRIMARY KEY,
    tool     TEXT    NOT NULL,
    task     TEXT    NOT NULL,
    entity   BLOB    NOT NULL,
    at_ms    INTEGER NOT NULL
);
CREATE INDEX called_tool ON called (tool, at_ms);

-- Calls that wait for people, until the monitor has decided again about them.
CREATE TABLE approval (
    nonce      TEXT    PRIMARY KEY,
    task       TEXT    NOT NULL,
    node       INTEGER NOT NULL,
    call       INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    arguments  BLOB,
    digest     BLOB    NOT NULL,
    rule       TEXT    NOT NULL,
    roles      TEXT    NOT NULL,
    is_local   INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    UNIQUE (task, node, call)
) WITHOUT ROWID;

-- What people said, by role; the first word of a role counts.
CREATE TABLE approval_vote (
    nonce   TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    by      TEXT    NOT NULL,
    granted INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (nonce, role)
) WITHOUT ROWID;

-- Bundles that the hub ordered and the journal has no answer to yet.
CREATE TABLE policy_order (
    position INTEGER PRIMARY KEY,
    epoch    BLOB    NOT NULL,
    seq      INTEGER NOT NULL,
    version  INTEGER NOT NULL,
    bundle   BLOB,
    UNIQUE (epoch, seq)
);

-- The bundle that the device goes by. No projection: it outlives the log that brought it. One row at most.
CREATE TABLE policy (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    hash    BLOB    NOT NULL,
    sealed  BLOB    NOT NULL,
    heard_ms INTEGER NOT NULL
);

-- Who has stopped the device. Whoever is not here has not.
CREATE TABLE halt (
    source TEXT PRIMARY KEY,
    at_ms  INTEGER NOT NULL
) WITHOUT ROWID;

-- What detectors said in a task, which its rules read.
CREATE TABLE finding (
    position    INTEGER PRIMARY KEY,
    task        TEXT    NOT NULL,
    node        INTEGER NOT NULL,
    detector    TEXT    NOT NULL,
    consequence TEXT    NOT NULL,
    UNIQUE (task, node, detector)
);
