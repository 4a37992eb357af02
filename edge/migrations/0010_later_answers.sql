-- What whoever had asked was told of the hub's answer: it came after their task had ended (rule P31). The hashes of both
-- contents, so that forgetting finds them here too. `amended_seq` now is of the record that brought the answer to them,
-- be it node.amended or the result of the call that asked.
ALTER TABLE hub_question ADD COLUMN answer_hash BLOB;
ALTER TABLE hub_question ADD COLUMN told BLOB;
ALTER TABLE hub_question ADD COLUMN told_hash BLOB;
ALTER TABLE hub_question ADD COLUMN told_labels TEXT;
ALTER TABLE hub_question ADD COLUMN told_ms INTEGER;
