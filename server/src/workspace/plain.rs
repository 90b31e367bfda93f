//! The usual op of a push, an insert of registers: decided and stored from its bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use driftline_core::merge::{Plain, Record, Verdict, Write};
use driftline_core::mutant::{Mutant, planted};
use driftline_core::op::ChangeKind;
use driftline_core::protocol::{Encoded, OpResult, SentOp, VersionEntry};
use minicbor::Encoder;

use super::decide::{Batch, Wrote};
use super::entry::{entry_of_new, room};
use super::materialise;
use super::rows::{Rows, said};
use crate::auth::Role;
use crate::problem::Problem;
use crate::store::{NewDocument, Touch};

impl Batch<'_> {
    /// Decides the op in these bytes if that can be done at a glance. `None` says only that it has to be
    /// read: nothing is done then.
    pub(super) fn plain(&mut self, sent: &[u8]) -> Result<Option<OpResult>, Problem> {
        // Readers are refused, and what waits for an op is found by what both say.
        if self.asked.role == Role::Reader || !self.held.is_empty() {
            return Ok(None);
        }
        let schema = &self.common.schema;
        let glance = || {
            assert!(!planted(Mutant::GlancePanics) || sent.len() % 8 != 3);
            let (id, when, body) = SentOp::around(sent)?;
            Some((id, when, Plain::read(schema, body)?))
        };
        // Whoever sent what makes it panic is told so once the op is read.
        let Ok(Some((id, when, plain))) = catch_unwind(AssertUnwindSafe(glance)) else {
            return Ok(None);
        };
        let size = (0, plain.size() as u64);
        let mut rows = Rows {
            rows: self.tx,
            recent: &mut self.recent,
        };
        if !plain.is_new(&mut rows, id)? || self.grows_beyond_quota(size) {
            return Ok(None);
        }
        let stamp = when.place(&self.contact());
        let version = self.head.cursor.version + 1;
        let (collection, document) = (plain.insert.collection, &plain.insert.document);
        let verdict = Verdict::Accepted(version);
        let record = Record {
            account: self.asked.account.clone(),
            verdict: verdict.clone(),
            covers: Vec::new(),
            links: Vec::new(),
        };
        self.record(id, &record)?;
        self.grow(size, 1);
        let by = Write {
            op: id,
            stamp,
            version,
        };
        let mut state = room();
        let encoded = plain.encode_state(&mut Encoder::new(&mut state), &by);
        // Writing to memory cannot fail; were it to, nothing may be stored.
        encoded.map_err(|_| Problem::Internal)?;
        self.tx.put_document(&NewDocument {
            collection,
            document,
            state: &state,
            body: Some(&materialise::inserted(&plain)),
            version,
        })?;
        let touched = [Touch {
            collection,
            document,
            kind: ChangeKind::Insert,
            previous: None,
        }];
        let wrote = Wrote {
            op: id,
            base: plain.insert.base,
            schema: plain.insert.schema,
            stamp,
            touched: &touched,
        };
        let entry = entry_of_new((version, id), (collection, document), Encoded(state))?;
        let echo = VersionEntry {
            version,
            ids: vec![id],
            documents: Vec::new(),
            echo: Some(stamp),
            landed: Vec::new(),
        };
        self.append(&wrote, entry, Some(echo))?;
        Ok(Some(OpResult {
            id,
            outcome: said(verdict),
        }))
    }
}
