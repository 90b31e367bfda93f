CREATE TABLE _dl_syncer (
    -- Which process syncs this file: of several that have it open one does, the others leave what
    -- they write to it. One row, rewritten at an election and where somebody asks; no clock is in it,
    -- because clocks of two processes need not agree, nor tell a frozen process from a busy one.
    one INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    -- Counts elections. Whatever a syncer writes it writes only where this is still its own.
    term INTEGER NOT NULL,
    -- The elected one, a random name; NULL after it let go.
    holder BLOB,
    -- Its process, in the machine's terms: what is known to have ended is replaced without asking.
    process TEXT,
    -- The number of the last question "are you there?",
    asked INTEGER NOT NULL DEFAULT 0,
    -- of the last one that also wants a sync made,
    wanted INTEGER NOT NULL DEFAULT 0,
    -- of the last one answered,
    answered INTEGER NOT NULL DEFAULT 0,
    -- and of the last one after which a sync was complete.
    served INTEGER NOT NULL DEFAULT 0
);
