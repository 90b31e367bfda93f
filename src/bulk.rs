//! Writing many documents.

use driftline_core::op::frame_of;
use driftline_core::value::Value;

use crate::database::Database;
use crate::error::Error;

/// A transaction of `write_bulk` ends when it holds this much.
const BULK_BYTES: usize = 1 << 20;

impl Database {
    /// Inserts many documents into one collection, in transactions of a comfortable size: each of
    /// them is committed as a whole, all together are not.
    ///
    /// # Errors
    /// The first document that is refused, or what `write` fails with; the failure says how many
    /// documents were committed before it.
    pub fn write_bulk<D: Into<NewDocument>>(
        &self,
        collection: &str,
        documents: impl IntoIterator<Item = D>,
    ) -> std::result::Result<u64, BulkFailure> {
        let schema = self.schema();
        let fields = schema
            .collection(collection)
            .map_or(0, |collection| collection.fields.len());
        let largest = schema.limits.max_document as usize + frame_of(fields);
        // Whatever comes last still fits beside what is there.
        let enough = BULK_BYTES.min((schema.limits.max_group as usize).saturating_sub(largest));
        let mut documents = documents.into_iter();
        let mut written = 0;
        loop {
            let chunk = self.write(|tx| {
                let mut count = 0;
                while count == 0 || tx.size() < enough {
                    let Some(document) = documents.next() else {
                        break;
                    };
                    let NewDocument { id, fields } = document.into();
                    match id {
                        Some(id) => tx.insert_with_id(collection, &id, fields)?,
                        None => tx.insert(collection, fields).map(drop)?,
                    }
                    count += 1;
                }
                Ok(count)
            });
            match chunk {
                Ok(0) => return Ok(written),
                Ok(count) => written += count,
                Err(error) => return Err(BulkFailure { written, error }),
            }
        }
    }
}

/// A document for [`Database::write_bulk`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewDocument {
    /// Its id; `None` to draw one.
    pub id: Option<String>,
    /// Its fields.
    pub fields: Vec<(String, Value)>,
}

impl<N: Into<String>, V: Into<Value>> From<Vec<(N, V)>> for NewDocument {
    fn from(fields: Vec<(N, V)>) -> NewDocument {
        fields.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Value>, const K: usize> From<[(N, V); K]> for NewDocument {
    fn from(fields: [(N, V); K]) -> NewDocument {
        fields.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for NewDocument {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> NewDocument {
        NewDocument {
            id: None,
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}

impl NewDocument {
    /// The same under an id of one's own.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> NewDocument {
        self.id = Some(id.into());
        self
    }
}

/// Why [`Database::write_bulk`] stopped.
#[derive(Debug, thiserror::Error)]
#[error("after {written} documents: {error}")]
#[non_exhaustive]
pub struct BulkFailure {
    /// Documents committed before it.
    pub written: u64,
    /// What went wrong with the next ones; nothing of them was written.
    #[source]
    pub error: Error,
}
