-- Texts and lists that people write together. A document's row says who wrote how much of them; what
-- they say stands here.

CREATE TABLE _dl_crdt (
    -- What the server said of a text, at the file's cursor: a state, and updates that came after it.
    -- Own edits that base does not contain stand in the outbox alone.
    -- The text: its document and field,
    collection INTEGER NOT NULL,
    document TEXT NOT NULL,
    field INTEGER NOT NULL,
    -- and the opener of the generation in which it began: an insert over a tombstone begins another.
    root BLOB NOT NULL,
    -- The order in which updates are applied; a state stands at the number of the last one in it.
    seq INTEGER NOT NULL,
    -- Who wrote the update; NULL for a state.
    writer INTEGER,
    -- The op it belongs to; NULL for a state.
    op_id BLOB,
    -- For a state, how far it contains what each writer has written, CBOR.
    marks BLOB,
    -- Yrs, format v1.
    body BLOB NOT NULL,
    PRIMARY KEY (collection, document, field, root, seq)
) WITHOUT ROWID;

CREATE TABLE _dl_texts (
    -- What texts say, for queries: plain text, or a list as a JSON array. Not in the document's row,
    -- which would be written again with all of it at every edit.
    collection INTEGER NOT NULL,
    document TEXT NOT NULL,
    field INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (collection, document, field)
) WITHOUT ROWID;

CREATE TABLE _dl_texts_stale (
    -- Texts whose row in _dl_texts is behind: an editor writes it once a second at most.
    collection INTEGER NOT NULL,
    document TEXT NOT NULL,
    field INTEGER NOT NULL,
    PRIMARY KEY (collection, document, field)
) WITHOUT ROWID;

-- Whether the op's text was authored again since somebody may have seen it: the server may have
-- decided about other bytes, so its word that the op did what it says is not taken.
ALTER TABLE _dl_outbox ADD COLUMN authored_again INTEGER;
