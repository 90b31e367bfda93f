//! One transaction of the app: its changes, what its documents show meanwhile, and the op it becomes.
//!
//! The prediction is the server's own merge, run with the knowledge that the author has seen all it
//! was shown. Changes of one document are joined where the result is the same, so that an op says
//! once what it did.

mod change;
mod finish;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::Change;
use driftline_core::schema::Schema;
use driftline_core::time::{Contact, Stamp};

use super::error::Result;
use super::history::Ops;
use super::predict::Head;
use super::row::StoredDocument;
use super::text::{EditedText, TextPlace};
use super::write::WriteTx;
use super::{attach, history, refold};

/// The transaction under way.
pub(crate) struct LocalWrite<'t> {
    tx: &'t WriteTx<'t>,
    schema: Arc<Schema>,
    head: Option<Head>,
    documents: Vec<Working>,
    /// Where documents stand, as far as somebody had to know.
    places: HashMap<CollectionId, HashMap<DocumentId, usize>>,
    /// How many of them are in `places`.
    indexed: usize,
    /// Where each collection's document with the greatest id stands.
    greatest: Vec<(CollectionId, usize)>,
    /// Queued ops that its changes follow. 4,000 documents of one earlier transaction, changed again in
    /// one, took 21 s while that op was read and decoded for each.
    ops: Ops<'t>,
    /// Order keys drawn so far.
    keys: u128,
    size: usize,
    /// Whether a change was joined to the one before it.
    joined: bool,
    /// Texts it edits that have not become changes yet.
    pub(super) texts: Vec<EditedText>,
    /// Queued ops of the same texts under another writer.
    pub(super) apart: Vec<OpId>,
    /// Whether nothing that anybody watches changes: an editor's keystrokes are shown later.
    quiet: bool,
    /// Writing rows failed half way: nothing of this transaction may be committed, whatever the app
    /// makes of the error.
    broken: bool,
}

/// So many documents are found by looking at each.
const FEW: usize = 8;

/// A document the transaction has looked at.
struct Working {
    collection: CollectionId,
    id: DocumentId,
    /// As it was before the transaction.
    before: Option<Box<StoredDocument>>,
    /// What it shows now, if the transaction has changed it.
    after: Option<DocumentState>,
    changes: Vec<Change>,
    /// As it is in the file, if that is not `before` any more.
    written: Option<Box<StoredDocument>>,
    dirty: bool,
    /// Whether it is new and shows what its one change inserts, registers alone: `after` is made of
    /// that if somebody looks.
    fresh: bool,
    /// Where its changes begin among the op's, once they are there.
    first: usize,
}

impl Working {
    /// What it shows now, deleted or not.
    fn shown(&self) -> Option<&DocumentState> {
        self.after
            .as_ref()
            .or_else(|| self.before.as_deref().and_then(shown_in))
    }
}

impl<'t> LocalWrite<'t> {
    pub(crate) fn new(tx: &'t WriteTx<'t>) -> LocalWrite<'t> {
        let schema = Arc::clone(tx.schema());
        LocalWrite {
            tx,
            schema,
            head: None,
            documents: Vec::new(),
            places: HashMap::new(),
            indexed: 0,
            greatest: Vec::new(),
            ops: Ops::new(tx.conn()),
            keys: 0,
            size: 0,
            joined: false,
            texts: Vec::new(),
            apart: Vec::new(),
            quiet: false,
            broken: false,
        }
    }

    pub(crate) fn tx(&self) -> &'t WriteTx<'t> {
        self.tx
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Bytes of all changes so far, as `max_group` counts them.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// What the document shows, deleted or not; `None` if it never was.
    pub(crate) fn shown(
        &mut self,
        collection: CollectionId,
        id: &DocumentId,
    ) -> Result<Option<&DocumentState>> {
        let at = self.look(collection, id)?;
        Ok(self.documents.get(at).and_then(Working::shown))
    }

    fn look(&mut self, collection: CollectionId, id: &DocumentId) -> Result<usize> {
        match self.find(collection, id) {
            Some(at) => {
                self.show_fresh(at)?;
                Ok(at)
            }
            None => {
                if self.tx.storage().is_attaching() {
                    attach::turn_at(self.tx, collection, id)?;
                }
                let before = self.tx.load(collection, id)?;
                Ok(self.take_up(collection, id, before))
            }
        }
    }

    fn find(&mut self, collection: CollectionId, id: &DocumentId) -> Option<usize> {
        let is_it = |working: &Working| working.id == *id && working.collection == collection;
        if self.documents.len() <= FEW {
            return self.documents.iter().position(is_it);
        }
        // Most calls are about the document of the call before.
        match self.documents.last() {
            Some(last) if is_it(last) => return Some(self.documents.len() - 1),
            _ => {}
        }
        // And most others about new ones, with ids that grow.
        let (_, greatest) = self.greatest.iter().find(|(c, _)| *c == collection)?;
        if self.documents.get(*greatest)?.id < *id {
            return None;
        }
        for (at, working) in self.documents.iter().enumerate().skip(self.indexed) {
            let places = self.places.entry(working.collection).or_default();
            places.insert(working.id.clone(), at);
        }
        self.indexed = self.documents.len();
        self.places.get(&collection)?.get(id).copied()
    }

    fn take_up(
        &mut self,
        collection: CollectionId,
        id: &DocumentId,
        before: Option<StoredDocument>,
    ) -> usize {
        let at = self.documents.len();
        self.documents.push(Working {
            collection,
            id: id.clone(),
            before: before.map(Box::new),
            after: None,
            changes: Vec::new(),
            written: None,
            dirty: false,
            fresh: false,
            first: 0,
        });
        match self.greatest.iter_mut().find(|(c, _)| *c == collection) {
            Some((_, greatest)) => {
                if self.documents.get(*greatest).is_some_and(|g| g.id < *id) {
                    *greatest = at;
                }
            }
            None => self.greatest.push((collection, at)),
        }
        at
    }

    /// From here on watched queries are not told: what changes shows later.
    pub(crate) fn be_quiet(&mut self) {
        self.quiet = true;
    }

    /// Hands over a document that was read in this transaction already.
    pub(crate) fn expect_stored(&mut self, place: &TextPlace, stored: StoredDocument) {
        if self.find(place.collection, &place.document).is_none() {
            self.take_up(place.collection, &place.document, Some(stored));
        }
    }

    /// Says that a document cannot exist yet: its id was drawn just now.
    pub(crate) fn expect_new(&mut self, collection: CollectionId, id: &DocumentId) {
        if self.find(collection, id).is_none() {
            self.take_up(collection, id, None);
        }
    }

    /// The op's id, for order keys: each of one op gets its own.
    pub(crate) fn order_key_id(&mut self) -> Result<OpId> {
        let op = self.head()?.op;
        let key = OpId((u128::from_be_bytes(op.0) ^ self.keys).to_be_bytes());
        self.keys += 1;
        Ok(key)
    }

    fn head(&mut self) -> Result<Head> {
        if let Some(head) = self.head {
            return Ok(head);
        }
        let standing = self.tx.standing()?;
        let head = Head {
            op: self.tx.storage().next_op_id(standing.newest, self.tx.now()),
            base: standing.cursor.version,
            stamp: self.predict(standing.contact.as_ref()),
        };
        self.head = Some(head);
        Ok(head)
    }

    /// Where the server is expected to place the op.
    fn predict(&self, contact: Option<&Contact>) -> Stamp {
        let now = self.tx.now();
        history::predict(now, history::as_of_now(contact.copied(), now).as_ref())
    }
}

/// The document a write starts from. A row that only keeps the way to ops that show nothing is none.
fn shown_in(stored: &StoredDocument) -> Option<&DocumentState> {
    Some(&stored.shown).filter(|shown| !refold::is_ghost(shown))
}
