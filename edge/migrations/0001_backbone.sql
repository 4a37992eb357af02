-- Logs, blobs and the projections of work. Everything below `dead_letter` can be rebuilt from the logs.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- Rule P1. `acked`: what the other side has committed (lanes that we write).
CREATE TABLE lane (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    epoch      BLOB    NOT NULL,
    head_seq   INTEGER NOT NULL,
    head_hash  BLOB    NOT NULL,
    acked      INTEGER NOT NULL DEFAULT 0,
    forked_at  INTEGER,
    UNIQUE (name, epoch)
);

CREATE TABLE record (
    lane_id INTEGER NOT NULL REFERENCES lane (id),
    seq     INTEGER NOT NULL,
    hash    BLOB    NOT NULL,
    data    BLOB    NOT NULL,
    PRIMARY KEY (lane_id, seq)
) WITHOUT ROWID;

-- Rule P4. (lane_id, seq) is the record that first names the blob: the blob rides in that record's batch.
CREATE TABLE blob (
    hash    BLOB    PRIMARY KEY,
    salt    BLOB    NOT NULL,
    content BLOB    NOT NULL,
    lane_id INTEGER NOT NULL REFERENCES lane (id),
    seq     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blob_by_record ON blob (lane_id, seq);

-- Rule P11.
CREATE TABLE dead_letter (
    lane_id INTEGER NOT NULL REFERENCES lane (id),
    seq     INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    PRIMARY KEY (lane_id, seq)
) WITHOUT ROWID;

-- One row a node of work. `cause_seq` is the order (in the orders lane) or the record (in the journal) that began it.
CREATE TABLE node (
    task         TEXT    NOT NULL,
    node         INTEGER NOT NULL,
    position     INTEGER NOT NULL UNIQUE,
    origin       TEXT    NOT NULL,
    attempt      INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    reason       TEXT,
    goal_hash    BLOB    NOT NULL,
    result_hash  BLOB,
    limits       TEXT    NOT NULL,
    deadline_ms  INTEGER,
    created_ms   INTEGER NOT NULL,
    started_ms   INTEGER,
    cause_epoch  BLOB    NOT NULL,
    cause_seq    INTEGER NOT NULL,
    cancel       TEXT,
    PRIMARY KEY (task, node)
) WITHOUT ROWID;
CREATE INDEX node_open ON node (state, position);

-- What one log says of something that only the other log makes known. `node` and `effect` carry the sum; these tables
-- hold each side's word, so that the logs can be replayed in either order.
CREATE TABLE attempt (  -- the journal's word
    task        TEXT    NOT NULL,
    node        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    reason      TEXT,
    result_hash BLOB,
    started_ms  INTEGER,
    PRIMARY KEY (task, node, attempt)
) WITHOUT ROWID;

CREATE TABLE cancelled (  -- the orders' word on a node that is not known
    task   TEXT    NOT NULL,
    node   INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    PRIMARY KEY (task, node)
) WITHOUT ROWID;

CREATE TABLE reply (  -- the orders' word; `question_seq` is the question that it answers, 0 if it does not say
    task         TEXT    NOT NULL,
    node         INTEGER NOT NULL,
    call         INTEGER NOT NULL,
    question_seq INTEGER NOT NULL,
    happened     INTEGER NOT NULL,
    PRIMARY KEY (task, node, call, question_seq)
) WITHOUT ROWID;

-- What a node did, in order: model calls (`name` is their purpose) and tool calls. A row without `result_hash` is an effect that was begun.
CREATE TABLE effect (
    task          TEXT    NOT NULL,
    node          INTEGER NOT NULL,
    call          INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    idempotent    INTEGER NOT NULL DEFAULT 0,
    argument_hash BLOB,
    intent_seq    INTEGER,
    result_hash   BLOB,
    result_seq    INTEGER,
    ok            INTEGER,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    question_seq  INTEGER,
    happened      INTEGER,
    PRIMARY KEY (task, node, call)
) WITHOUT ROWID;
