-- Of nodes whose rows made room before their deadline: that this device has ended them, so that an offer which a restored hub
-- repeats is not done a second time.
CREATE TABLE ended (
    task        TEXT    NOT NULL,
    node        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    reason      TEXT,
    deadline_ms INTEGER NOT NULL,
    PRIMARY KEY (task, node)
) WITHOUT ROWID;
