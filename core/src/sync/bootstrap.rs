//! The way to base without the log: documents as they are, then what changed meanwhile.

/// How far a bootstrap is. The file keeps what it has received, so a restart goes on here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// None is running.
    #[default]
    None,
    /// Documents are arriving.
    Documents,
    /// All documents are there; the log is followed from where the snapshot was pinned.
    CatchUp,
    /// At the head; the fate of the queued and quarantined ops is asked for, then base is swapped.
    AskFates,
}
