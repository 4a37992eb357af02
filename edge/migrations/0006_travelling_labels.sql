-- Who at the hub asked for work, and in which roles: JSON of both; NULL for the device's own work.
ALTER TABLE node ADD COLUMN asked_at_hub TEXT;

-- The labels of a result: JSON; NULL if nobody knows them.
ALTER TABLE node ADD COLUMN result_labels TEXT;
ALTER TABLE attempt ADD COLUMN result_labels TEXT;
