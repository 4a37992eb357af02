-- Secrets for tools, encrypted under a key that is not in the store. No projection: they cannot be made again from the logs.
-- `version` is the hub's, 0 for a secret that was set on the device. `sealed` NULL: it was removed, and the journal does not
-- say so yet. `is_told`: the journal says what is here.
CREATE TABLE secret (
    name    TEXT    PRIMARY KEY,
    version INTEGER NOT NULL,
    sealed  BLOB,
    at_ms   INTEGER NOT NULL,
    is_told INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- The hub's orders about secrets that the journal has no answer to yet. `box` NULL where it did not come with the order.
CREATE TABLE secret_order (
    position   INTEGER PRIMARY KEY,
    epoch      BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    is_removal INTEGER NOT NULL,
    box        BLOB,
    UNIQUE (epoch, seq)
);
