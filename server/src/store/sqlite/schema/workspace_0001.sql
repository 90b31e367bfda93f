-- One workspace: its order of versions, its documents as merged, and what every op was answered.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY, -- 'name', 'id'
    value BLOB NOT NULL     -- 'id': 16 random bytes that seed the chain hashes
) WITHOUT ROWID;

CREATE TABLE size (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    documents INTEGER NOT NULL, -- rows of documents, tombstones included
    bytes     INTEGER NOT NULL  -- content of live documents, as counted by the quota
);
INSERT INTO size VALUES (1, 0, 0);

CREATE TABLE accounts (
    number INTEGER PRIMARY KEY, -- what other tables refer to
    name   TEXT NOT NULL UNIQUE -- the token's sub
);

CREATE TABLE devices (
    number    INTEGER PRIMARY KEY, -- what other tables refer to
    account   INTEGER NOT NULL REFERENCES accounts,
    device    TEXT NOT NULL,             -- the file's own id
    label     TEXT NOT NULL DEFAULT '',  -- what a person calls it, as last said
    cursor    INTEGER NOT NULL DEFAULT 0, -- the version it stood at when last seen
    last_seen INTEGER NOT NULL DEFAULT 0, -- Unix milliseconds
    UNIQUE (account, device)
);

CREATE TABLE authors (
    number INTEGER PRIMARY KEY, -- what the log refers to
    device INTEGER NOT NULL REFERENCES devices,
    label  TEXT NOT NULL,    -- what the device was called when it wrote
    writer INTEGER NOT NULL, -- the file's writer number when it wrote
    UNIQUE (device, label, writer)
);

CREATE TABLE log (
    version        INTEGER PRIMARY KEY, -- 1, 2, 3 … without a gap
    hash           BLOB NOT NULL,    -- 8 bytes over everything up to here
    op_id          BLOB NOT NULL,    -- UUIDv7
    author         INTEGER NOT NULL REFERENCES authors,
    base           INTEGER NOT NULL, -- the version its author stood at when writing
    schema_version INTEGER NOT NULL, -- of the app that wrote
    written        INTEGER NOT NULL, -- Unix milliseconds, the device's time placed on the server's axis
    at             INTEGER NOT NULL, -- Unix milliseconds when it was decided
    touched        TEXT NOT NULL,    -- JSON: [[collection, document, kind, version before or null], …]
    entry          BLOB NOT NULL     -- what devices are sent: CBOR VersionEntry
);

CREATE TABLE documents (
    number     INTEGER PRIMARY KEY, -- in order of arrival: a tree that grows at its end moves no rows
    collection INTEGER NOT NULL, -- the schema's stable number
    id         TEXT NOT NULL,
    version    INTEGER NOT NULL, -- the last that touched it
    body       TEXT,             -- the visible fields by name, as JSON; NULL for a tombstone
    state      BLOB NOT NULL,    -- CBOR DocumentState: values with provenance, what a tombstone held
    UNIQUE (collection, id)
);

CREATE TABLE verdicts (
    op_id   BLOB PRIMARY KEY, -- every id ever decided; never pruned
    account INTEGER NOT NULL REFERENCES accounts,
    version INTEGER, -- set if accepted
    code    TEXT,    -- set if rejected
    message TEXT,    -- set if rejected; names fields, never values
    links   BLOB     -- CBOR [covers, links] where there are any
) WITHOUT ROWID;

CREATE TABLE losses (
    device  INTEGER NOT NULL REFERENCES devices, -- the author's
    number  INTEGER NOT NULL, -- grows for the device
    version INTEGER NOT NULL, -- the version that decided it
    rule    TEXT NOT NULL,
    at      INTEGER NOT NULL, -- Unix milliseconds
    loss    BLOB NOT NULL,    -- CBOR Loss, as the device gets it
    PRIMARY KEY (device, number)
) WITHOUT ROWID;

-- Who did what, for operators: one row for each change of each version.
CREATE VIEW change_log AS
SELECT
    log.version                                   AS version,
    lower(substr(hex(log.op_id), 1, 8) || '-' || substr(hex(log.op_id), 9, 4) || '-'
        || substr(hex(log.op_id), 13, 4) || '-' || substr(hex(log.op_id), 17, 4) || '-'
        || substr(hex(log.op_id), 21))            AS op_id,
    accounts.name                                 AS author,
    devices.device                                AS device,
    authors.label                                 AS device_label,
    authors.writer                                AS writer,
    change.value ->> 0                            AS collection,
    change.value ->> 1                            AS document,
    change.value ->> 2                            AS kind,
    change.value ->> 3                            AS previous_version,
    log.written                                   AS written,
    log.at                                        AS at,
    log.schema_version                            AS schema_version
FROM log
JOIN authors ON authors.number = log.author
JOIN devices ON devices.number = authors.device
JOIN accounts ON accounts.number = devices.account
JOIN json_each(log.touched) AS change;
