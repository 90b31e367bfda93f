//! The reference server: core's decision over maps, every version's state kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::merge::{
    DocumentState, History, Link, Linked, Record, Touched, Verdict, Workspace, decide,
};
use driftline_core::op::{FieldMap, Op, Refusal, Update, refusal};
use driftline_core::protocol::{
    Cursor, DocumentResult, OpResult, Outcome, SentOp, SyncRequest, SyncResponse, VersionEntry,
};
use driftline_core::schema::Schema;
use driftline_core::text::guard::{self, Check, GuardLimits};
use driftline_core::text::{BodyLimits, Mark, TextKind};
use driftline_core::time::{Contact, Stamp};

use super::Time;
use super::draft::STORY;
use crate::storage::text::Body;

pub(crate) type Key = (CollectionId, DocumentId);
pub(crate) type Documents = BTreeMap<Key, DocumentState>;

/// Everybody's account.
const ACCOUNT: &str = "ann";

/// Cloning it is a backup.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) schema: Arc<Schema>,
    time: Time,
    store: Store,
    log: Vec<Logged>,
    cursors: Vec<Cursor>,
    /// The state at each version.
    states: Vec<Documents>,
    /// Ops to be rejected.
    pub(crate) refuse: HashSet<OpId>,
}

#[derive(Clone)]
struct Logged {
    entry: VersionEntry,
    echo: Option<Stamp>,
}

#[derive(Clone, Default)]
struct Store {
    documents: Documents,
    records: HashMap<OpId, Record>,
    writers: HashSet<u64>,
}

impl History for Store {
    type Error = Infallible;
    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        Ok(self
            .records
            .get(&op)
            .map(|record| record.linked(op, collection, document)))
    }
}

impl Workspace for Store {
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, Infallible> {
        Ok(self.documents.get(&(collection, document.clone())).cloned())
    }
    fn record(&mut self, op: OpId) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(&op).cloned())
    }
    fn writer(&mut self, writer: u64) -> Result<Option<String>, Infallible> {
        let known = self.writers.contains(&writer);
        Ok(known.then(|| ACCOUNT.to_owned()))
    }
}

impl Server {
    pub(crate) fn new(schema: Arc<Schema>, time: Time) -> Server {
        Server {
            schema,
            time,
            store: Store::default(),
            log: Vec::new(),
            cursors: vec![Cursor::seed(b"a reference work")],
            states: vec![Documents::new()],
            refuse: HashSet::new(),
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.log.len() as Version
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor_at(self.version())
    }

    pub(crate) fn cursor_at(&self, version: Version) -> Cursor {
        self.cursors[version as usize]
    }

    pub(crate) fn has(&self, cursor: Cursor) -> bool {
        cursor == Cursor::START || self.cursors.get(cursor.version as usize) == Some(&cursor)
    }

    pub(crate) fn state_at(&self, version: Version) -> &Documents {
        &self.states[version as usize]
    }

    pub(crate) fn record(&self, op: OpId) -> Option<&Record> {
        self.store.records.get(&op)
    }

    /// Decides one op as it stands; `None` if its text does not fit.
    pub(crate) fn decide(&mut self, mut op: Op, stamp: Stamp) -> Option<Verdict> {
        let version = self.version() + 1;
        let refused = self
            .refuse
            .contains(&op.id)
            .then(|| Refusal::new(refusal::QUOTA, "the workspace is full"));
        let decided = decide(
            &self.schema,
            &mut self.store,
            ACCOUNT,
            &mut op,
            stamp,
            version,
            refused,
        );
        let decision = match decided {
            Ok(decision) => decision,
            Err(never) => match never {},
        };
        let landed = decision
            .records
            .first()
            .map(|(_, record)| landings(record))
            .unwrap_or_default();
        self.store.records.extend(decision.records);
        if let Some(accepted) = decision.accepted {
            self.store.writers.extend(&accepted.new_writers);
            let documents = accepted.documents.iter().map(Touched::result).collect();
            for touched in accepted.documents {
                self.store
                    .documents
                    .insert((touched.collection, touched.document), touched.after);
            }
            let entry = VersionEntry {
                version,
                ids: accepted.names,
                documents,
                echo: None,
                landed,
            };
            self.cursors
                .push(self.cursor().next(&minicbor::to_vec(&entry).unwrap()));
            self.log.push(Logged {
                entry,
                echo: accepted.echo,
            });
            self.states.push(self.store.documents.clone());
        }
        decision.verdict
    }

    /// Answers a request with at most `most` versions; `None` for a cursor of another history.
    pub(crate) fn answer(&mut self, request: &SyncRequest, most: usize) -> Option<SyncResponse> {
        if !self.has(request.cursor) {
            return None;
        }
        let contact = Contact {
            device: request.now,
            server: self.time.now(),
        };
        let mut carried = HashSet::new();
        let mut undecided = HashSet::new();
        let mut results = Vec::new();
        for sent in &request.ops {
            let before = self.version();
            let result = self.result(sent, &contact, &undecided);
            if self.version() > before {
                carried.insert(result.id);
            }
            if matches!(
                result.outcome,
                Outcome::Unknown | Outcome::RetryLater { .. } | Outcome::Rebase
            ) {
                undecided.insert(result.id);
            }
            results.push(result);
        }
        let from = request.cursor.version as usize;
        let versions: Vec<VersionEntry> = self
            .log
            .iter()
            .skip(from)
            .take(most)
            .map(|logged| logged.told(&carried))
            .collect();
        let to = self.cursor_at((from + versions.len()) as Version);
        Some(SyncResponse {
            results,
            has_more: to != self.cursor(),
            versions,
            losses: Vec::new(),
            cursor: to,
            server_time: contact.server,
            account: "ann".to_owned(),
            take_snapshot: false,
            quota: None,
            tag: request.tag,
        })
    }

    fn result(&mut self, sent: &SentOp, contact: &Contact, undecided: &HashSet<OpId>) -> OpResult {
        let verdict = match sent {
            SentOp::Named(id) => self
                .store
                .records
                .get(id)
                .map(|record| record.verdict.clone()),
            SentOp::Full { id, when, body } => {
                // An op waits for undecided earlier ones on its documents.
                let after = body
                    .changes
                    .iter()
                    .filter_map(|c| c.prev)
                    .find(|prev| undecided.contains(prev));
                if let (Some(after), None) = (after, self.store.records.get(id)) {
                    return OpResult {
                        id: *id,
                        outcome: Outcome::RetryLater { after: Some(after) },
                    };
                }
                let op = Op {
                    id: *id,
                    written: contact.device,
                    body: body.clone(),
                };
                let Some(verdict) = self.decide(op, when.place(contact)) else {
                    let (id, outcome) = (*id, Outcome::Rebase);
                    return OpResult { id, outcome };
                };
                Some(verdict)
            }
        };
        let outcome = match verdict {
            None => Outcome::Unknown,
            Some(Verdict::Accepted(version)) => Outcome::Accepted { version },
            Some(Verdict::Rejected(refusal)) => Outcome::Rejected { refusal },
        };
        OpResult {
            id: sent.id(),
            outcome,
        }
    }

    /// Versions behind `from`, as the live socket tells them.
    pub(crate) fn versions(&self, from: Version, most: usize) -> (Vec<VersionEntry>, Cursor) {
        let versions: Vec<VersionEntry> = self
            .log
            .iter()
            .skip(from as usize)
            .take(most)
            .map(|l| l.entry.clone())
            .collect();
        let to = self.cursor_at(from + versions.len() as Version);
        (versions, to)
    }

    /// All documents as a snapshot tells them now.
    pub(crate) fn snapshot(&self) -> Vec<DocumentResult> {
        let all = self.store.documents.iter();
        all.map(|((collection, document), state)| DocumentResult {
            collection: *collection,
            document: document.clone(),
            whole: true,
            state: state.clone(),
            texts: self.states_of((*collection, document.clone()), state),
        })
        .collect()
    }

    /// All of a document's texts, as a snapshot carries them.
    fn states_of(&self, key: Key, state: &DocumentState) -> FieldMap<Update> {
        let fields = state.texts.iter().map(|(field, _)| field);
        let state_of = |field| {
            let body = self.text_at(self.version(), &key, field).unwrap();
            (field, Update(body.state().unwrap()))
        };
        fields.map(state_of).collect()
    }

    /// A text as it was at a version; `None` if nobody had written it.
    pub(crate) fn text_at(&self, version: Version, key: &Key, field: FieldId) -> Option<Body> {
        let state = self.state_at(version).get(key)?;
        let root = state.texts.get(field)?.root;
        let kind = match field {
            STORY => TextKind::RichText,
            _ => TextKind::List,
        };
        let mut body = Body::new(kind, 1, BodyLimits::default());
        let mut marks: Vec<Mark> = Vec::new();
        for logged in &self.log[..version as usize] {
            let results = logged.entry.documents.iter();
            for result in results.filter(|r| (r.collection, &r.document) == (key.0, &key.1)) {
                let text = result
                    .state
                    .texts
                    .get(field)
                    .filter(|text| text.root == root);
                let Some((text, update)) = text.zip(result.texts.get(field)) else {
                    continue;
                };
                let written = text.marks.iter();
                let mark = *written.max_by_key(|mark| mark.version).unwrap();
                let limits = GuardLimits::default();
                let check = guard::check(&update.0, mark.writer, kind, &marks, &limits);
                let Ok(Check::Fits(checked)) = check else {
                    panic!("{check:?}");
                };
                body.apply(&checked).unwrap();
                Mark::put(&mut marks, mark);
            }
        }
        Some(body)
    }

    /// What each version brought into texts: its names, the document, the text's root.
    pub(crate) fn typed(&self) -> Vec<(Vec<OpId>, Key, FieldId, OpId)> {
        let mut typed = Vec::new();
        for logged in &self.log {
            for result in &logged.entry.documents {
                for (field, _) in result.texts.iter() {
                    let root = result.state.texts.get(field).unwrap().root;
                    let key = (result.collection, result.document.clone());
                    typed.push((logged.entry.ids.clone(), key, field, root));
                }
            }
        }
        typed
    }
}

impl Logged {
    /// In full, or by its stamp alone to whoever just sent the op.
    fn told(&self, carried: &HashSet<OpId>) -> VersionEntry {
        match self.echo {
            Some(stamp) if carried.contains(&self.entry.ids[0]) => VersionEntry {
                documents: Vec::new(),
                echo: Some(stamp),
                ..self.entry.clone()
            },
            _ => self.entry.clone(),
        }
    }
}

fn landings(record: &Record) -> Vec<Link> {
    record
        .links
        .iter()
        .filter(|link| link.landed.is_some())
        .map(|link| Link {
            prev: None,
            ..link.clone()
        })
        .collect()
}
