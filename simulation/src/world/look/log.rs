//! Judging what the server decided since it was looked at last.

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::OpId;
use driftline_core::op::OpBody;

use super::TWIN_IDS;
use super::devices::copies_beside;
use crate::oracles::{self, Judgement, LogRow, object};
use crate::world::World;
use crate::world::schema::TWINS;
use crate::world::site::Site;
use crate::world::watch::Served;

impl World<'_> {
    pub(super) fn judge_log(&mut self, served: Served) -> Judgement {
        self.judge_rejections(&served)?;
        self.learn_rejections(served.rejected);
        for row in served.log {
            let (version, op) = (row.cursor.version, row.op);
            let said = self.bodies.get(op).map(in_short).unwrap_or_default();
            self.trace.line(format_args!("    v{version} {op}{said}"));
            let earlier = self.histories.current.documents();
            if version != self.histories.current.head() + 1 {
                return object("O8 cursor", format!("version {version} follows a gap"));
            }
            oracles::not_unwelcome(self.unwelcome.get(&op).copied(), op)?;
            self.judge_row(&row, &served.owners)?;
            let again = self.histories.current.append(row);
            oracles::named_once(&again, self.bodies.get(op), version)?;
            let Some(seen) = self.histories.current.version(version) else {
                continue;
            };
            oracles::no_resurrection(&earlier, &seen.documents)?;
            oracles::groups_are_whole(&seen.documents, TWINS, TWIN_IDS.len(), "the server")?;
            let body = self.bodies.get(op);
            let schema = &self.schemas.app;
            let lost = oracles::log_follows_the_model(&mut self.model, schema, seen, body)?;
            let told = served.losses.get(&version);
            let none = BTreeSet::new();
            let told = told.unwrap_or(&none);
            oracles::losses_are_told(version, &lost, told)?;
            let copied = self.sites.iter().any(|site| site.like != site.number);
            let history = &self.histories.current;
            self.words.are_told(&seen.row, told, history, copied)?;
        }
        Ok(())
    }

    /// Judges a version by itself.
    fn judge_row(&mut self, row: &LogRow, owners: &BTreeMap<u64, i64>) -> Judgement {
        let op = row.op;
        oracles::placed_in_time(row, self.wire.told(op))?;
        let number = row.label.strip_prefix("device ").map(str::parse::<usize>);
        let site = number.and_then(|number| self.sites.get(number.ok()?));
        let may_write = !site.is_some_and(|site| site.reader);
        let body = self.bodies.get(op);
        // Text may have been authored again, and any of the requests may be the one that counted.
        let sent = self.wire.bodies(op).iter();
        let sent = sent.chain(body.filter(|_| self.wire.bodies(op).is_empty()));
        oracles::written_by_its_author(row, sent, may_write, owners)?;
        let Some(body) = body else {
            return Ok(());
        };
        oracles::names_all(&row.entry.ids, op, body)?;
        let typed = |body: &OpBody| body.changes.iter().any(|change| !change.texts.is_empty());
        self.words.meddled |= typed(body) && self.wire.told(op).is_empty();
        let history = &self.histories.current;
        // A file that left a history since it was looked at may have heard before that what had become of
        // its queue; a copy of it that sends on does not answer for what another one waits for.
        let holds = |site: &&Site| site.view.holds(op) && copies_beside(site) == site.copies;
        if let Some(site) = site.filter(holds) {
            // Who stands before what a restored server lost knows what was decided there, as it is with
            // requests.
            let known: Vec<_> = self.histories.with(site.view.cursor).collect();
            let was_named = |id| known.iter().any(|history| history.named(id).is_some());
            oracles::nothing_was_overtaken(op, body, &site.view.queue, |id| {
                let excused = site.farewells.excused.contains(&id) || was_named(id);
                excused || history.named(id).is_some() || self.rejected.contains(&id)
            })?;
        }
        Ok(())
    }

    /// Judges what was rejected since. What a document was then it still was when the server was looked at
    /// before, or became since.
    fn judge_rejections(&self, served: &Served) -> Judgement {
        let new = |id: &&OpId| !self.rejected.contains(id);
        let mut missing = served.missing.iter().filter(new).peekable();
        if missing.peek().is_none() {
            return Ok(());
        }
        let documents = self.histories.current.documents();
        for id in missing {
            if let Some(body) = self.bodies.get(*id) {
                oracles::what_is_missing_never_was(*id, body, &documents)?;
            }
        }
        Ok(())
    }

    fn learn_rejections(&mut self, rejected: Vec<OpId>) {
        for id in rejected {
            if self.rejected.insert(id) {
                self.trace.line(format_args!("    rejected {id}"));
                for site in &mut self.sites {
                    site.farewells.rejected.insert(id);
                }
            }
            if let Some(body) = self.bodies.get(id) {
                self.model.reject(id, body);
            }
        }
    }
}

/// What an op says, for a trace.
fn in_short(body: &OpBody) -> String {
    use std::fmt::Write;
    let mut said = format!(" base {}", body.base);
    for id in body.stands_for() {
        let _ = write!(said, " for {id}");
    }
    for change in &body.changes {
        let (kind, collection, document) =
            (change.kind.name(), change.collection, &change.document);
        let _ = write!(said, "; {kind} {collection}/{document}");
        if let Some(generation) = change.generation {
            let _ = write!(said, " of {generation}");
        }
        if let Some(prev) = change.prev {
            let _ = write!(said, " after {prev}");
        }
    }
    said
}
