//! The figures: one file each.

mod bulk;
mod disk;
mod drain;
mod entry;
mod group;
mod growth;
mod guard;
mod idle;
mod insert;
mod live;
mod open;
mod receive;
mod recordings;
mod shared;
mod transfer;
mod typing;
mod update;

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::Figure;

/// Figures that come out of one measurement.
pub(crate) struct Group {
    /// The measurement's name.
    name: &'static str,
    /// The names of its figures.
    figures: &'static [&'static str],
    measure: fn(&Bench) -> Outcome<Vec<Figure>>,
}

const GROUPS: &[Group] = &[
    Group {
        name: "durable inserts",
        figures: &["insert_full", "insert_full_p99", "insert_full_max"],
        measure: insert::full,
    },
    Group {
        name: "inserts without waiting for the disk",
        figures: &["insert_normal", "insert_normal_p99", "insert_normal_max"],
        measure: insert::normal,
    },
    Group {
        name: "durable updates",
        figures: &["update_full"],
        measure: update::measure,
    },
    Group {
        name: "100,000 documents in bulk",
        figures: &["bulk_100k"],
        measure: bulk::measure,
    },
    Group {
        name: "opening 100,000 documents",
        figures: &["open_read_100k", "open_memory_100k"],
        measure: open::measure,
    },
    Group {
        name: "10,000 documents up and down",
        figures: &["push_10k", "pull_10k"],
        measure: transfer::measure,
    },
    Group {
        name: "a live change",
        figures: &["live_p50"],
        measure: live::measure,
    },
    Group {
        name: "100 pending changes",
        figures: &["drain_100"],
        measure: drain::measure,
    },
    Group {
        name: "a boolean on the wire",
        figures: &["boolean_bytes"],
        measure: entry::measure,
    },
    Group {
        name: "a document on disk",
        figures: &["disk_bytes"],
        measure: disk::measure,
    },
    Group {
        name: "memory while receiving",
        figures: &["receive_memory"],
        measure: receive::measure,
    },
    Group {
        name: "growth with the file",
        figures: &["growth_insert", "growth_open", "growth_pull"],
        measure: growth::measure,
    },
    Group {
        name: "a transaction of many documents",
        figures: &["growth_group"],
        measure: group::measure,
    },
    Group {
        name: "a write beside another process",
        figures: &["shared_write_p99"],
        measure: shared::measure,
    },
    Group {
        name: "typing in a long text",
        figures: &["typing_outside", "typing_bytes", "typing_whole"],
        measure: typing::measure,
    },
    Group {
        name: "the recording of one author",
        figures: &["recording_one", "open_text"],
        measure: recordings::one_author,
    },
    Group {
        name: "the recording of two people",
        figures: &["recording_two"],
        measure: recordings::two_people,
    },
    Group {
        name: "the guard of updates",
        figures: &["guard_share"],
        measure: guard::measure,
    },
    Group {
        name: "an hour at rest",
        figures: &["idle_timers", "idle_requests", "idle_growth"],
        measure: idle::measure,
    },
];

impl Group {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn measure(&self, bench: &Bench) -> Outcome<Vec<Figure>> {
        (self.measure)(bench)
    }
}

/// The names of all figures.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    GROUPS
        .iter()
        .flat_map(|group| group.figures.iter().copied())
}

/// Whether a filter, if there is any, names the figure.
pub(crate) fn is_chosen(figure: &str, filter: &[String]) -> bool {
    filter.is_empty() || filter.iter().any(|part| figure.contains(part.as_str()))
}

/// The groups with a chosen figure.
pub(crate) fn chosen(filter: &[String]) -> Vec<&'static Group> {
    GROUPS
        .iter()
        .filter(|group| group.figures.iter().any(|figure| is_chosen(figure, filter)))
        .collect()
}

/// What a child process does in a role.
pub(crate) fn play(role: &str, argument: &str) -> Outcome<String> {
    match role {
        open::OURS => open::play_ours(argument),
        open::RAW => open::play_raw(argument),
        receive::OURS => receive::play_ours(argument),
        shared::READER => shared::play(argument),
        receive::FLOOR => receive::play_floor(argument),
        _ => Err(format!("no role is called {role}").into()),
    }
}
