//! What a list holds.

use std::fmt;
use std::str::FromStr;

use driftline_core::text::{ElementId as Id, TextError};

use super::failed;
use crate::error::Error;

/// The name of an element: it stays with the element when that moves. As text, for other languages,
/// it is two numbers with a dot between.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ElementId(pub(crate) Id);

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.writer, self.0.clock)
    }
}

impl FromStr for ElementId {
    type Err = Error;

    fn from_str(text: &str) -> Result<ElementId, Error> {
        let parts = text.split_once('.');
        let id = parts.and_then(|(writer, clock)| {
            Some(Id {
                writer: writer.parse().ok()?,
                clock: clock.parse().ok()?,
            })
        });
        id.map(ElementId)
            .ok_or_else(|| failed(TextError::NoSuchElement))
    }
}

/// One element of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ListElement {
    /// Its name.
    pub id: ElementId,
    /// Its value, as JSON.
    pub json: String,
}

impl ListElement {
    pub(crate) fn of((id, json): (Id, String)) -> ListElement {
        ListElement {
            id: ElementId(id),
            json,
        }
    }
}
