-- What a log that is trimmed still has to know, and what of it waits. The twin: what the device shall run, and says it runs.

-- `tail_seq` is the first record that is held; `tail_hash` the chain's hash before it (NULL: the lane's start).
-- `stored_bytes`: records and content held; `waiting_bytes`: of these, not acknowledged.
ALTER TABLE lane ADD COLUMN tail_seq INTEGER NOT NULL DEFAULT 1;
ALTER TABLE lane ADD COLUMN tail_hash BLOB;
ALTER TABLE lane ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lane ADD COLUMN waiting_bytes INTEGER NOT NULL DEFAULT 0;

UPDATE lane SET stored_bytes = (
    (SELECT coalesce(sum(length(data)), 0) FROM record WHERE lane_id = lane.id)
    + (SELECT coalesce(sum(length(content)), 0) FROM blob WHERE lane_id = lane.id)
);
UPDATE lane SET waiting_bytes = (
    (SELECT coalesce(sum(length(data)), 0) FROM record WHERE lane_id = lane.id AND seq > lane.acked)
    + (SELECT coalesce(sum(length(content)), 0) FROM blob WHERE lane_id = lane.id AND seq > lane.acked)
) WHERE name <> 'orders';

-- `disk_bytes`: what the records (without content) take of the disk, as far as it was reckoned. `shed`: records that were dropped before they were
-- acknowledged, tombstones not counted (metrics).
ALTER TABLE lane ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lane ADD COLUMN shed INTEGER NOT NULL DEFAULT 0;

-- 0: its records are held. 1: they are trimmed, but the hub may still offer it again. 2: nothing but goal and result is left.
ALTER TABLE node ADD COLUMN past INTEGER NOT NULL DEFAULT 0;
CREATE INDEX node_past ON node (past, position) WHERE past > 0;

-- What the journal says of the device itself and has not taken back.
CREATE TABLE condition (
    name  TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- The settings. `side`: desired (the hub's latest order) or reported (what the hub was told last, all in all). `epoch` and `seq` are
-- the record's that said so; `order_epoch` is the orders log of the order that was taken up, NULL if there was none.
CREATE TABLE twin (
    side        TEXT PRIMARY KEY,
    revision    INTEGER NOT NULL,
    document    TEXT    NOT NULL,
    refused     TEXT    NOT NULL,
    epoch       BLOB    NOT NULL,
    seq         INTEGER NOT NULL,
    order_epoch BLOB,
    at_ms       INTEGER NOT NULL
) WITHOUT ROWID;
