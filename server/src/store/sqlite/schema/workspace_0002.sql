-- Texts and lists. A field's updates stand in the tail until a worker folds them into its state; what
-- the field says follows then. Nothing of it is in the document's row: a letter typed into a long
-- text must not rewrite it.

CREATE TABLE writers (
    writer  INTEGER PRIMARY KEY, -- the Yrs client id of text authored in one file
    account INTEGER NOT NULL REFERENCES accounts -- who first wrote under it; nobody else may
);

CREATE TABLE texts (
    collection INTEGER NOT NULL,
    document   TEXT NOT NULL,
    field      INTEGER NOT NULL,
    version    INTEGER NOT NULL, -- the last that is folded in; 0 before the first time
    state      BLOB,             -- Yrs state, format v1
    marks      BLOB,             -- CBOR: the writers in the state, as the guard asks for them
    deleted    INTEGER NOT NULL DEFAULT 0, -- bytes that the document counts at that version and are gone
    name       TEXT,             -- the field's name, as the document's body uses it
    body       TEXT,             -- JSON: {"text", "delta"} of a rich text, the elements of a list
    aside      TEXT,             -- why it is not folded any more, if it is not
    PRIMARY KEY (collection, document, field)
);

CREATE TABLE text_tail (
    collection INTEGER NOT NULL,
    document   TEXT NOT NULL,
    field      INTEGER NOT NULL,
    version    INTEGER NOT NULL, -- that brought it
    op_id      BLOB NOT NULL,
    writer     INTEGER NOT NULL,
    edit       BLOB NOT NULL,    -- a Yrs update, format v1
    PRIMARY KEY (collection, document, field, version)
) WITHOUT ROWID;

-- Documents with what their texts say, as last folded; for operators' own queries.
CREATE VIEW contents AS
SELECT
    collection,
    id,
    version,
    CASE WHEN body IS NULL THEN NULL ELSE json_patch(body, coalesce((
        SELECT json_group_object(texts.name, json(texts.body))
        FROM texts
        WHERE texts.collection = documents.collection AND texts.document = documents.id
            AND texts.body IS NOT NULL
    ), '{}')) END AS body
FROM documents;
