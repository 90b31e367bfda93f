-- What the server knows beside its workspaces.

CREATE TABLE workspaces (
    name    TEXT PRIMARY KEY,
    file    TEXT NOT NULL UNIQUE, -- beside this file
    created INTEGER NOT NULL      -- Unix milliseconds
) WITHOUT ROWID;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY, -- 'stable_ids', 'checked'
    value TEXT NOT NULL     -- 'stable_ids': JSON, what the schema's numbers mean
) WITHOUT ROWID;
