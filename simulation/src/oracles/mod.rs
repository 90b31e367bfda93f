//! What must be true, each in a file of its own. They judge what lies in files and on the wire, seen
//! by somebody who is neither device nor server; what the product says of itself is only compared
//! with that. Each has a test that hands it a small history with one thing wrong.

mod history;
mod o01_base;
mod o02_model;
mod o03_acknowledged;
mod o03_asked;
mod o04_leaving;
mod o05_once;
mod o06_own_writes;
mod o07_groups;
mod o08_cursor;
mod o09_generations;
mod o10_convergence;
mod o11_server;
mod o11_tidy;
mod o12_status;
mod o13_accounts;
mod o13_isolation;
mod o14_liveness;
mod o15_integrity;
mod o16_panic;
mod o17_order;
mod o18_content;
mod o19_ledger;
mod o20_copies;
mod o21_memory;
mod o22_limits;
#[cfg(test)]
mod testing;
mod view;

pub use history::{Histories, History, LogRow, VersionSeen};
pub use o01_base::base_is_the_servers;
pub use o02_model::{
    log_follows_the_model, placed_in_time, states_agree, what_is_missing_never_was,
};
pub use o03_acknowledged::{
    acknowledged_is_queued, failed_changed_nothing, lost_a_suffix, marks_are_there,
    undone_stays_undone,
};
pub use o03_asked::{Ask, Asked, covers_what_was_asked, say_what_was_asked, says_what_was_asked};
pub use o04_leaving::{Farewells, nothing_left_without_a_reason};
pub use o05_once::{counted_once, named_once, names_all};
pub use o06_own_writes::{
    Known, joined_on_one_base, links_are_kept, own_elements_show, own_writes_show, written_shows,
};
pub use o07_groups::groups_are_whole;
pub use o08_cursor::cursor_goes_on;
pub use o09_generations::no_resurrection;
pub use o10_convergence::{
    all_show_the_same, texts_are_the_servers, words_are_gone, words_are_there, words_are_there_once,
};
pub use o11_server::{Kept, Room, server_keeps_no_more};
pub use o11_tidy::nothing_is_left_over;
pub use o12_status::{
    counts_are_told, idle_has_nothing_to_send, idle_heard_no_failure, replaced_changes_nothing,
    state_has_its_cause, status_tells_the_truth, watched_shows_what_is_there,
};
pub use o13_accounts::{Marks, mark, told_whose_it_is};
pub use o13_isolation::{
    CANARY, no_canary, not_unwelcome, refused, says_nothing_private, written_by_its_author,
};
pub use o14_liveness::{Standing, all_arrive, listeners_hear, time_passed, works};
pub use o15_integrity::{sound, what_was_said_stays};
pub use o16_panic::{nothing_panicked, server_answers};
pub use o17_order::{Push, nothing_was_overtaken, sends_in_order};
pub use o18_content::{says_the_same, stands_for_the_unseen};
pub use o19_ledger::{losses_are_kept, losses_are_told, typed_words_are_told};
pub use o20_copies::{
    Retired, made_on_leaving, set_aside_first, writes_under_another, writes_under_its_own_name,
};
pub use o21_memory::{held_little, left_little, took_little};
pub use o22_limits::{quota_holds, quota_is_told, refused_for_quota, room_is_used};
pub use view::{Documents, FileView, Key, QueueState, Queued};

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which oracle says so.
    pub oracle: &'static str,
    /// What is wrong.
    pub what: String,
}

/// Whether all is well.
pub type Judgement = Result<(), Violation>;

/// What an oracle objects to.
pub fn object(oracle: &'static str, what: impl Into<String>) -> Judgement {
    Err(Violation {
        oracle,
        what: what.into(),
    })
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.oracle, self.what)
    }
}
