//! Faults planted on purpose, each to be found by the simulation (`docs/simulation.md`).
//!
//! They exist with the feature `mutants` alone, which nothing that ships turns on; without it
//! [`planted`] is a constant and nothing of them is left in the program. With it one of them can be
//! chosen when the program runs.

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mutant {
    /// The server decides an op again that it has decided.
    DuplicateDecidedAgain,
    /// The server decides a retry although the op was accepted at first.
    RetryDecidedAgain,
    /// The server does not count an op's own predecessors as seen.
    OwnEarlierOpUnseen,
    /// A document that began another generation is told in parts.
    WholeForgotten,
    /// The server says that an op did what it says without looking.
    EchoUnchecked,
    /// What comes before the refused part of a group is applied.
    GroupHalfApplied,
    /// A version names its own op only, not those it covers or retries.
    NamesForgotten,
    /// Text is taken under a writer of another account.
    ForeignWriterAccepted,
    /// What was in an op's base does not count as seen.
    BaseUnseen,
    /// Of two writes that had not seen each other the earlier wins.
    EarlierWins,
    /// A write keeps its clock's stamp below the value that its author saw.
    NotRaisedAboveSeen,
    /// A removal takes away what its author had not seen.
    RemoveTakesUnseen,
    /// An increment replaces the sum.
    CounterForgets,
    /// An update brings a deleted document back.
    UpdateRevivesDeleted,
    /// The server keeps no tombstone of what was deleted.
    TombstoneForgotten,
    /// A device keeps no tombstone of what was deleted.
    TombstoneForgottenOnDevice,
    /// A late write lands in whatever generation there is.
    GenerationIgnored,
    /// A delete takes an update away that it had not seen.
    UpdateWinsForgotten,
    /// A document that merges as a whole is merged field by field.
    DocumentMergedByField,
    /// The way back to base leaves counters as they are shown.
    BaseCounterForgotten,
    /// The way back to base keeps fields that base does not have.
    BaseAbsenceForgotten,
    /// The way back to base keeps elements that base does not have.
    BaseElementForgotten,
    /// A stamp may lie in the server's future.
    StampAboveServer,
    /// Monotonic clocks of two boot sessions are compared.
    BootIgnored,
    /// After a failure nothing is tried again.
    BackoffNeverEnds,
    /// A refused token is not asked for again.
    TokenNotRenewed,
    /// A frame that does not follow is dropped and nothing pulled.
    FrameMissedForgotten,
    /// What was committed before the socket was open is not pulled.
    LiveWithoutPull,
    /// Text is taken behind a gap.
    TextGapAccepted,
    /// The server answers, and what it decided is undone.
    ServerAnswersBeforeCommit,
    /// A reader's ops are taken.
    ReaderMayWrite,
    /// The server does not remember what it decided.
    RecordNotKept,
    /// Losses are not told to their authors.
    LossForgotten,
    /// A cursor of another history is taken for one of this.
    HistoryUnchecked,
    /// An answer leaves out a version and moves the cursor behind it.
    PageLeavesOut,
    /// Reading some ops at a glance panics, and they are read in full.
    GlancePanics,
    /// An op overtakes an undecided one that it builds on.
    HeldOvertaken,
    /// A write returns although it was rolled back.
    AckBeforeCommit,
    /// Document and queue entry are two transactions.
    OutboxApart,
    /// A write joins an earlier one although a page came between.
    JoinsAcrossAPage,
    /// The last document of a group shows and is not queued.
    MemberNotQueued,
    /// The last element of an add or remove shows and is not queued.
    ElementNotQueued,
    /// A write joins an earlier one of which it does not write all again.
    JoinsInPart,
    /// Text that is authored again takes nothing out any more.
    RemovalNotAuthoredAgain,
    /// What only takes text out is taken in by nobody.
    RemovalNotTakenIn,
    /// The status does not follow what is written.
    WritesNotTold,
    /// The status says that all is done after a failure.
    FailureNotTold,
    /// The cursor moves in a transaction of its own, before the page.
    CursorApart,
    /// An op leaves the queue when it is accepted, before base has it.
    VerdictEarly,
    /// A rejected op is dropped instead of kept in quarantine.
    RejectedForgotten,
    /// A rejected op still shows.
    RejectedShown,
    /// An op that a page names stays in the queue.
    NamedStays,
    /// Versions are applied that do not follow the cursor.
    StaleFrameApplied,
    /// A write joins one that was sent already.
    JoinsWhatWasSent,
    /// A clock that goes back draws smaller ids.
    IdsNotAboveTheLast,
    /// Watchers are not told of what the server sent.
    NotNotified,
    /// Watchers are told before the commit, and not again.
    NotifiedBeforeCommit,
    /// A commit that reports an error counts as undone.
    FailedCommitTrusted,
    /// A copy of a file goes on under the original's writer.
    WriterKept,
    /// After a loss of power that took writes a file goes on under their writer.
    WriterKeptAfterPowerLoss,
    /// A commit under Full does not wait for the disk.
    NormalInsteadOfFull,
    /// What an earlier process left in the log counts as being on the disk.
    LogTrusted,
    /// Another history is met without a copy of the file.
    SetAsideForgotten,
    /// Text in another history goes on under the writer of the lost one.
    WriterKeptInAnotherHistory,
    /// A new base shows without the queue on top.
    BootstrapWithoutPending,
    /// Ops that a new base contains are folded on top of it.
    BootstrapForgetsFates,
    /// A snapshot is swapped in before what changed meanwhile is here.
    BootstrapWithoutCatchUp,
    /// A process that was replaced goes on syncing.
    LeaseUnchecked,
    /// The way through ops that left is lost.
    LinksForgotten,
    /// Pending text that does not go on where base ends stays as it is.
    TextNotAuthoredAgain,
    /// The server leaves out the last document of a group.
    GroupCutShort,
    /// The server takes a cursor that it has for one of another history.
    HistoryDoubted,
    /// A restore goes on with the generation that was deleted.
    RestoredInPlace,
    /// Links of ops that left are kept when the queue has drained.
    LinksKept,
    /// A commit of the server does not wait for the disk.
    ServerDoesNotWait,
    /// Edits of a text that were folded stay in its tail.
    FoldedTailKept,
    /// The server takes what goes beyond its quota.
    QuotaIgnored,
    /// What a database had open is held when nobody has it any more.
    HeldWhenClosed,
    /// A queue is sent with whatever token there is.
    AnothersTokenUsed,
    /// A file opens for an account that is not its own.
    FileOfAnybody,
    /// What is dropped at a sign-out stays queued.
    DropForgotten,
}

impl Mutant {
    /// All of them.
    pub const ALL: &[Mutant] = &[
        Mutant::DuplicateDecidedAgain,
        Mutant::RetryDecidedAgain,
        Mutant::OwnEarlierOpUnseen,
        Mutant::WholeForgotten,
        Mutant::EchoUnchecked,
        Mutant::GroupHalfApplied,
        Mutant::NamesForgotten,
        Mutant::ForeignWriterAccepted,
        Mutant::BaseUnseen,
        Mutant::EarlierWins,
        Mutant::NotRaisedAboveSeen,
        Mutant::RemoveTakesUnseen,
        Mutant::CounterForgets,
        Mutant::UpdateRevivesDeleted,
        Mutant::TombstoneForgotten,
        Mutant::TombstoneForgottenOnDevice,
        Mutant::GenerationIgnored,
        Mutant::UpdateWinsForgotten,
        Mutant::DocumentMergedByField,
        Mutant::BaseCounterForgotten,
        Mutant::BaseAbsenceForgotten,
        Mutant::BaseElementForgotten,
        Mutant::StampAboveServer,
        Mutant::BootIgnored,
        Mutant::BackoffNeverEnds,
        Mutant::TokenNotRenewed,
        Mutant::FrameMissedForgotten,
        Mutant::LiveWithoutPull,
        Mutant::TextGapAccepted,
        Mutant::ServerAnswersBeforeCommit,
        Mutant::ReaderMayWrite,
        Mutant::RecordNotKept,
        Mutant::LossForgotten,
        Mutant::HistoryUnchecked,
        Mutant::PageLeavesOut,
        Mutant::GlancePanics,
        Mutant::HeldOvertaken,
        Mutant::AckBeforeCommit,
        Mutant::OutboxApart,
        Mutant::JoinsAcrossAPage,
        Mutant::MemberNotQueued,
        Mutant::ElementNotQueued,
        Mutant::JoinsInPart,
        Mutant::RemovalNotAuthoredAgain,
        Mutant::RemovalNotTakenIn,
        Mutant::WritesNotTold,
        Mutant::FailureNotTold,
        Mutant::CursorApart,
        Mutant::VerdictEarly,
        Mutant::RejectedForgotten,
        Mutant::RejectedShown,
        Mutant::NamedStays,
        Mutant::StaleFrameApplied,
        Mutant::JoinsWhatWasSent,
        Mutant::IdsNotAboveTheLast,
        Mutant::NotNotified,
        Mutant::NotifiedBeforeCommit,
        Mutant::FailedCommitTrusted,
        Mutant::WriterKept,
        Mutant::WriterKeptAfterPowerLoss,
        Mutant::NormalInsteadOfFull,
        Mutant::LogTrusted,
        Mutant::SetAsideForgotten,
        Mutant::WriterKeptInAnotherHistory,
        Mutant::BootstrapWithoutPending,
        Mutant::BootstrapForgetsFates,
        Mutant::BootstrapWithoutCatchUp,
        Mutant::LeaseUnchecked,
        Mutant::LinksForgotten,
        Mutant::TextNotAuthoredAgain,
        Mutant::GroupCutShort,
        Mutant::HistoryDoubted,
        Mutant::RestoredInPlace,
        Mutant::LinksKept,
        Mutant::ServerDoesNotWait,
        Mutant::FoldedTailKept,
        Mutant::QuotaIgnored,
        Mutant::HeldWhenClosed,
        Mutant::AnothersTokenUsed,
        Mutant::FileOfAnybody,
        Mutant::DropForgotten,
    ];

    /// Its name, as it is chosen by.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// The fault in words.
    pub fn fault(self) -> &'static str {
        match self {
            Mutant::DuplicateDecidedAgain => "the server decides an op again that it has decided",
            Mutant::RetryDecidedAgain => {
                "the server decides a retry although the op was accepted at first"
            }
            Mutant::OwnEarlierOpUnseen => {
                "the server does not count an op's own predecessors as seen"
            }
            Mutant::WholeForgotten => "a document that began another generation is told in parts",
            Mutant::EchoUnchecked => "the server says that an op did what it says without looking",
            Mutant::GroupHalfApplied => "what comes before the refused part of a group is applied",
            Mutant::NamesForgotten => {
                "a version names its own op only, not those it covers or retries"
            }
            Mutant::ForeignWriterAccepted => "text is taken under a writer of another account",
            Mutant::BaseUnseen => "what was in an op's base does not count as seen",
            Mutant::EarlierWins => "of two writes that had not seen each other the earlier wins",
            Mutant::NotRaisedAboveSeen => {
                "a write keeps its clock's stamp below the value that its author saw"
            }
            Mutant::RemoveTakesUnseen => "a removal takes away what its author had not seen",
            Mutant::CounterForgets => "an increment replaces the sum",
            Mutant::UpdateRevivesDeleted => "an update brings a deleted document back",
            Mutant::TombstoneForgotten => "the server keeps no tombstone of what was deleted",
            Mutant::TombstoneForgottenOnDevice => "a device keeps no tombstone of what was deleted",
            Mutant::GenerationIgnored => "a late write lands in whatever generation there is",
            Mutant::UpdateWinsForgotten => "a delete takes an update away that it had not seen",
            Mutant::DocumentMergedByField => {
                "a document that merges as a whole is merged field by field"
            }
            Mutant::BaseCounterForgotten => {
                "the way back to base leaves counters as they are shown"
            }
            Mutant::BaseAbsenceForgotten => {
                "the way back to base keeps fields that base does not have"
            }
            Mutant::BaseElementForgotten => {
                "the way back to base keeps elements that base does not have"
            }
            Mutant::StampAboveServer => "a stamp may lie in the server's future",
            Mutant::BootIgnored => "monotonic clocks of two boot sessions are compared",
            Mutant::BackoffNeverEnds => "after a failure nothing is tried again",
            Mutant::TokenNotRenewed => "a refused token is not asked for again",
            Mutant::FrameMissedForgotten => {
                "a frame that does not follow is dropped and nothing pulled"
            }
            Mutant::LiveWithoutPull => {
                "what was committed before the socket was open is not pulled"
            }
            Mutant::TextGapAccepted => "text is taken behind a gap",
            Mutant::ServerAnswersBeforeCommit => {
                "the server answers, and what it decided is undone"
            }
            Mutant::ReaderMayWrite => "a reader's ops are taken",
            Mutant::RecordNotKept => "the server does not remember what it decided",
            Mutant::LossForgotten => "losses are not told to their authors",
            Mutant::HistoryUnchecked => "a cursor of another history is taken for one of this",
            Mutant::PageLeavesOut => {
                "an answer leaves out a version and moves the cursor behind it"
            }
            Mutant::GlancePanics => {
                "reading some ops at a glance panics, and they are read in full"
            }
            Mutant::HeldOvertaken => "an op overtakes an undecided one that it builds on",
            Mutant::AckBeforeCommit => "a write returns although it was rolled back",
            Mutant::OutboxApart => "document and queue entry are two transactions",
            Mutant::JoinsAcrossAPage => "a write joins an earlier one although a page came between",
            Mutant::MemberNotQueued => "the last document of a group shows and is not queued",
            Mutant::ElementNotQueued => {
                "the last element of an add or remove shows and is not queued"
            }
            Mutant::JoinsInPart => {
                "a write joins an earlier one of which it does not write all again"
            }
            Mutant::RemovalNotAuthoredAgain => {
                "text that is authored again takes nothing out any more"
            }
            Mutant::RemovalNotTakenIn => "what only takes text out is taken in by nobody",
            Mutant::WritesNotTold => "the status does not follow what is written",
            Mutant::FailureNotTold => "the status says that all is done after a failure",
            Mutant::CursorApart => "the cursor moves in a transaction of its own, before the page",
            Mutant::VerdictEarly => {
                "an op leaves the queue when it is accepted, before base has it"
            }
            Mutant::RejectedForgotten => "a rejected op is dropped instead of kept in quarantine",
            Mutant::RejectedShown => "a rejected op still shows",
            Mutant::NamedStays => "an op that a page names stays in the queue",
            Mutant::StaleFrameApplied => "versions are applied that do not follow the cursor",
            Mutant::JoinsWhatWasSent => "a write joins one that was sent already",
            Mutant::IdsNotAboveTheLast => "a clock that goes back draws smaller ids",
            Mutant::NotNotified => "watchers are not told of what the server sent",
            Mutant::NotifiedBeforeCommit => "watchers are told before the commit, and not again",
            Mutant::FailedCommitTrusted => "a commit that reports an error counts as undone",
            Mutant::WriterKept => "a copy of a file goes on under the original's writer",
            Mutant::WriterKeptAfterPowerLoss => {
                "after a loss of power that took writes a file goes on under their writer"
            }
            Mutant::NormalInsteadOfFull => "a commit under Full does not wait for the disk",
            Mutant::LogTrusted => {
                "what an earlier process left in the log counts as being on the disk"
            }
            Mutant::WriterKeptInAnotherHistory => {
                "text in another history goes on under the writer of the lost one"
            }
            Mutant::SetAsideForgotten => "another history is met without a copy of the file",
            Mutant::BootstrapWithoutPending => "a new base shows without the queue on top",
            Mutant::BootstrapForgetsFates => "ops that a new base contains are folded on top of it",
            Mutant::BootstrapWithoutCatchUp => {
                "a snapshot is swapped in before what changed meanwhile is here"
            }
            Mutant::LeaseUnchecked => "a process that was replaced goes on syncing",
            Mutant::LinksForgotten => "the way through ops that left is lost",
            Mutant::TextNotAuthoredAgain => {
                "pending text that does not go on where base ends stays as it is"
            }
            Mutant::GroupCutShort => "the server leaves out the last document of a group",
            Mutant::HistoryDoubted => {
                "the server takes a cursor that it has for one of another history"
            }
            Mutant::RestoredInPlace => "a restore goes on with the generation that was deleted",
            Mutant::LinksKept => "links of ops that left are kept when the queue has drained",
            Mutant::ServerDoesNotWait => "a commit of the server does not wait for the disk",
            Mutant::FoldedTailKept => "edits of a text that were folded stay in its tail",
            Mutant::QuotaIgnored => "the server takes what goes beyond its quota",
            Mutant::HeldWhenClosed => {
                "what a database had open is held when nobody has it any more"
            }
            Mutant::AnothersTokenUsed => "a queue is sent with whatever token there is",
            Mutant::FileOfAnybody => "a file opens for an account that is not its own",
            Mutant::DropForgotten => "what is dropped at a sign-out stays queued",
        }
    }
}

/// Whether a fault is to show.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{choose, planted};

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    /// None.
    const NONE: u8 = u8::MAX;
    static CHOSEN: AtomicU8 = AtomicU8::new(NONE);

    /// From now on this one shows, in all threads; or none.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.store(
            mutant.map_or(NONE, |mutant| mutant as u8),
            Ordering::Relaxed,
        );
    }

    /// Whether a fault is to show.
    #[inline]
    pub fn planted(mutant: Mutant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_none_shows_unless_it_is_chosen() {
        let names: std::collections::BTreeSet<String> =
            Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        assert!(names.contains("ack-before-commit"));
        assert!(Mutant::ALL.iter().all(|mutant| !planted(*mutant)));
    }
}
