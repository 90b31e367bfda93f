-- Everything a device keeps beside the app's documents. Collections have tables of their own, made
-- from the schema.

CREATE TABLE _dl_meta (
    -- Facts about the file, one a row; names are in storage/meta.rs.
    key TEXT PRIMARY KEY NOT NULL,
    -- Text, an integer or CBOR, as the key demands.
    value
) WITHOUT ROWID;

CREATE TABLE _dl_outbox (
    -- Own ops that base does not contain yet. One B-tree without a second index: a second one cost
    -- 7 of 26 µs a write. An integer for its key: appending to such a tree fills page after page,
    -- while one keyed by the id itself rewrote three pages for every new one.
    -- The first 8 bytes of the op's id; they only grow within one file, so key order is queue order.
    seq INTEGER PRIMARY KEY NOT NULL,
    -- The op's id. An op is looked up by both: another copy of the file may have drawn an id of the
    -- same first bytes.
    op_id BLOB NOT NULL,
    -- What it says, CBOR.
    body BLOB NOT NULL,
    -- The clocks when it was written: Unix milliseconds as the device believed them,
    wall INTEGER NOT NULL,
    -- the boot session,
    boot INTEGER NOT NULL,
    -- and milliseconds of the monotonic clock within that session.
    mono INTEGER NOT NULL,
    -- 0 pending, 1 quarantined, 2 pending while a withdrawal is sent in its place, 3 pending and
    -- not shown, because a group is shown whole or not at all. In flight is known in memory only.
    state INTEGER NOT NULL DEFAULT 0,
    -- How often it failed alone.
    attempts INTEGER,
    -- Unix milliseconds of its own next try, if it has a timer of its own.
    next_attempt INTEGER,
    -- Why it last failed: a stable code
    error_code TEXT,
    -- and the server's words.
    error_message TEXT,
    -- The first id of the rejected op this one tries again.
    retry_of BLOB
);

-- Few ops are retries; looking one up by its first id must not read the queue.
CREATE INDEX _dl_outbox_retries ON _dl_outbox (retry_of) WHERE retry_of IS NOT NULL;

-- So are rejected ones; counting them must not read the queue either.
CREATE INDEX _dl_outbox_quarantined ON _dl_outbox (state) WHERE state = 1;

CREATE TABLE _dl_departed (
    -- Links of ops that left while the queue of their time has not drained: what later ops had seen
    -- is told by them.
    -- The op.
    op_id BLOB NOT NULL,
    -- The document.
    collection INTEGER NOT NULL,
    document TEXT NOT NULL,
    -- The file's previous op on it, if base did not contain that one when this was written.
    prev BLOB,
    -- The ops it stood for, CBOR.
    covers BLOB,
    -- Its version, if it was accepted.
    accepted INTEGER,
    -- The opener of the generation it opened or landed in.
    landed BLOB,
    PRIMARY KEY (op_id, collection, document)
) WITHOUT ROWID;

CREATE TABLE _dl_tombstones (
    -- Deleted documents without pending ops, kept so that late writes meet them and a restore
    -- brings their content back.
    -- The document.
    collection INTEGER NOT NULL,
    id TEXT NOT NULL,
    -- All of it, CBOR.
    state BLOB NOT NULL,
    -- The version that deleted it.
    version INTEGER NOT NULL,
    -- Unix milliseconds when it came here; what the horizon counts from.
    at INTEGER NOT NULL,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID;

CREATE TABLE _dl_losses (
    -- Values that are not in a document although somebody wrote them on this device.
    id INTEGER PRIMARY KEY NOT NULL,
    -- The server's number for it; NULL for what the device found itself.
    number INTEGER UNIQUE,
    -- The op that lost.
    op_id BLOB NOT NULL,
    -- The document and the field, if it is about one.
    collection INTEGER NOT NULL,
    document TEXT NOT NULL,
    field INTEGER,
    -- Why, in the API's word.
    rule TEXT NOT NULL,
    -- Unix milliseconds when it was decided.
    at INTEGER NOT NULL,
    -- All of it, CBOR: value, base value, winner, stamps.
    body BLOB NOT NULL,
    -- The op that wrote the value again, if somebody restored it.
    restored BLOB
);

CREATE INDEX _dl_losses_document ON _dl_losses (collection, document);

CREATE TABLE _dl_sync_runs (
    -- What each sync did, the latest some hundred; for the app's own diagnosis.
    id INTEGER PRIMARY KEY NOT NULL,
    -- Unix milliseconds.
    started INTEGER NOT NULL,
    ended INTEGER,
    -- What started it.
    cause TEXT NOT NULL,
    -- How it ended, and the code if it failed.
    outcome TEXT,
    error_code TEXT,
    -- Ops sent, versions received, bytes each way.
    sent INTEGER NOT NULL DEFAULT 0,
    received INTEGER NOT NULL DEFAULT 0,
    bytes_up INTEGER NOT NULL DEFAULT 0,
    bytes_down INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE _dl_migrations (
    -- What changed the file's own shape, and when.
    -- 'tables' for these private tables, 'schema' for the app's schema.
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- The migration's name, or the schema's.
    name TEXT NOT NULL,
    -- Unix milliseconds.
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, version)
) WITHOUT ROWID;

CREATE TABLE _dl_staged (
    -- What a bootstrap under way has received, in order and as it came; unpacked into the
    -- collections in the transaction that swaps base.
    seq INTEGER PRIMARY KEY NOT NULL,
    -- 0 documents of the snapshot, 1 versions that followed, 2 a frame of documents as it came.
    kind INTEGER NOT NULL,
    -- CBOR: an array of them, or the frame, which may be compressed.
    body BLOB NOT NULL
);

CREATE TABLE _dl_fates (
    -- What the server said, during a bootstrap, of ops that are queued or in quarantine.
    op_id BLOB PRIMARY KEY NOT NULL,
    -- Its version, if it was accepted.
    version INTEGER,
    -- Where its openers landed, CBOR, if not in generations of their own.
    landed BLOB
) WITHOUT ROWID;
