-- Records that brought content which rides with a later record now (an answer to the hub names it again). Should the hub ask
-- for the earlier record once more, the content comes with it too: what came with the later one may be lost meanwhile.
CREATE TABLE content_before (
    lane_id INTEGER NOT NULL REFERENCES lane(id),
    seq     INTEGER NOT NULL,
    hash    BLOB    NOT NULL,
    PRIMARY KEY (lane_id, seq, hash)
) WITHOUT ROWID;
