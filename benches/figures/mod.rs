//! The figures: one file each.

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

const GROUPS: &[Group] = &[];

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
pub(crate) fn play(role: &str, _argument: &str) -> Outcome<String> {
    Err(format!("no role is called {role}").into())
}
