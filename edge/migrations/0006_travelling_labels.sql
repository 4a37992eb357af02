-- Who at the hub asked for work, and in which roles: JSON of both; NULL for the device's own work.
ALTER TABLE node ADD COLUMN asked_at_hub TEXT;

-- The labels of a result: JSON; NULL if nobody knows them.
ALTER TABLE node ADD COLUMN result_labels TEXT;
ALTER TABLE attempt ADD COLUMN result_labels TEXT;

-- Which call it was that was let through, and who had agreed to it (JSON of role, name, digest): tried again after an
-- interruption it is the same call.
ALTER TABLE called ADD COLUMN node INTEGER;
ALTER TABLE called ADD COLUMN call INTEGER;
ALTER TABLE called ADD COLUMN agreed TEXT NOT NULL DEFAULT '[]';
CREATE INDEX called_place ON called (task, node, call);

-- How long the device has run since it heard the hub; whether the hub was told that the bundle cannot hold (any more).
ALTER TABLE policy ADD COLUMN used_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE policy ADD COLUMN is_refused INTEGER NOT NULL DEFAULT 0;

-- Each tool as it was known, by the digest of what a model is told of it; and the digest that a finding was raised about.
CREATE TABLE tool_seen (
    tool   TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    told   TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
