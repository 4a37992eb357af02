-- The hub's newest word on each collection of knowledge: an offer, or that the device may no longer have it. No projection: it
-- outlives the log that brought it. `inline`: what came along and was not taken up yet. `answer` NULL: the journal says nothing of
-- it yet; else `applied`, or why it was refused.
CREATE TABLE knowledge_offer (
    collection TEXT    PRIMARY KEY,
    epoch      BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    record     BLOB    NOT NULL,
    inline     BLOB,
    answer     TEXT
) WITHOUT ROWID;
