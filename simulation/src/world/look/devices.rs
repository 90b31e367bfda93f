//! Looking at devices' files.

use std::collections::BTreeSet;

use driftline_core::id::{OpId, Version};
use driftline_core::op::OpBody;

use super::TWIN_IDS;
use crate::oracles::{self, FileView, History, Judgement, Known, Retired, Violation};
use crate::world::World;
use crate::world::schema::TWINS;
use crate::world::site::{FILE, Site};
use crate::world::watch::{Bodies, Watcher};

impl World<'_> {
    /// Looks at a machine's file, if it changed.
    pub(in crate::world) fn look_at(&mut self, at: usize) -> Judgement {
        let Some(view) = self.fresh_view(at) else {
            return Ok(());
        };
        let schema = &self.schemas.app;
        let site = &mut self.sites[at];
        let names = copies_beside(site);
        let known_copies = std::mem::replace(&mut site.copies, names);
        let mut before = std::mem::take(&mut site.view);
        if std::mem::take(&mut site.lossy) {
            // What was lost is the end of what there was.
            oracles::lost_a_suffix(&before, &view, &self.histories)?;
            let present = &self.histories.current;
            let stands = view.cursor.version;
            let in_base = |id| present.named(id).is_some_and(|named| named <= stands);
            let excused = |id| site.farewells.excused.contains(&id);
            let lost = |id| !in_base(id) && !excused(id);
            let retired = Retired::by_a_loss(&before, &view, lost);
            site.retired.extend(retired);
            before = FileView::default();
        }
        self.trace.line(format_args!(
            "    s{at} v{} queue {} shows {}",
            view.cursor.version,
            view.queue.len(),
            view.shown.len()
        ));
        if site.reader {
            let ids = view.queue.iter().map(|queued| queued.id);
            self.unwelcome
                .extend(ids.map(|id| (id, "a reader's write")));
        }
        site.farewells.learn(&view);
        if let Some(before) = site.unknown.take() {
            let left = view.queue.iter().map(|queued| queued.id);
            site.untold.extend(left.filter(|id| !before.contains(id)));
        }
        // All of a history may have come and gone since, and all of the next one.
        let begins_anew = view.cursor.version < before.cursor.version;
        // What lies beside a file that is looked at for the first time came along with it.
        let made_one = before.writer.is_some() && self.sites[at].copies != known_copies;
        if begins_anew || made_one {
            before = self.seen_in_a_copy(at, before, &view, &known_copies)?;
        }
        let site = &self.sites[at];
        let ids: BTreeSet<OpId> = before.queue.iter().map(|queued| queued.id).collect();
        let whose = format!("s{at}");
        oracles::base_is_the_servers(&before, &view, &self.histories)?;
        oracles::nothing_left_without_a_reason(&ids, &view, &self.histories, &site.farewells)?;
        oracles::counted_once(&view, TWINS)?;
        oracles::own_writes_show(&view, schema)?;
        oracles::joined_on_one_base(&before, &view)?;
        // What the file forgot with everything that was dropped, or with a history, it cannot know.
        let remembers = site.farewells.excused.is_empty() && !self.histories.changed();
        if remembers && view.cursor.version > 0 {
            let known = KnownOps(&self.bodies, &self.histories.current);
            oracles::own_elements_show(&view, &known)?;
            oracles::links_are_kept(&view, &known)?;
        }
        oracles::groups_are_whole(&view.shown, TWINS, TWIN_IDS.len(), &whose)?;
        oracles::cursor_goes_on(&before, &view, &self.histories)?;
        oracles::undone_stays_undone(&ids, &view, &site.undone)?;
        for queued in view.queue.iter().filter(|op| !op.body.covers.is_empty()) {
            let machine = site.device.options.number;
            oracles::stands_for_the_unseen(
                queued,
                |id| self.bodies.get(id),
                |id| self.wire.was_sent_in_full(machine, id),
            )?;
        }
        oracles::writes_under_another(&view, &site.retired)?;
        if site.device.options.host_token {
            oracles::writes_under_its_own_name(&view, &site.kin)?;
        }
        self.sites[at].view = view;
        Ok(())
    }

    /// The file left a history since it was seen: the copy that it made then says how it stood.
    fn seen_in_a_copy(
        &mut self,
        at: usize,
        before: FileView,
        view: &FileView,
        known: &BTreeSet<String>,
    ) -> Result<FileView, Violation> {
        // One that was made while the file waited for another history says nothing of its own.
        let mut copies = self.copies_aside(at);
        copies.retain(|(_, copy)| copy.cursor.version > 0);
        for (_, copy) in &copies {
            oracles::base_is_the_servers(&FileView::default(), copy, &self.histories)?;
        }
        let made = oracles::made_on_leaving(&before, &copies, known).cloned();
        let copies: Vec<FileView> = copies.into_iter().map(|(_, copy)| copy).collect();
        oracles::set_aside_first(&before, view, &copies)?;
        let Some(copy) = made else {
            return Ok(before);
        };
        let ids: BTreeSet<OpId> = before.queue.iter().map(|queued| queued.id).collect();
        let farewells = &self.sites[at].farewells;
        oracles::nothing_left_without_a_reason(&ids, &copy, &self.histories, farewells)?;
        Ok(copy)
    }

    /// The copies that a machine's file made of itself, with their names.
    fn copies_aside(&mut self, at: usize) -> Vec<(String, FileView)> {
        let site = &self.sites[at];
        let schema = &self.schemas.app;
        let views = copies_beside(site).into_iter().filter_map(|file| {
            let watcher = Watcher::open(&site.device.disk, &file).ok()?;
            let view = watcher.file(schema, &mut self.bodies).ok()??;
            Some((file, view))
        });
        views.collect()
    }

    /// The file as it is, if anybody has it open and something was committed.
    fn fresh_view(&mut self, at: usize) -> Option<FileView> {
        let site = &mut self.sites[at];
        if !site.is_open() {
            return None;
        }
        if site.watcher.is_none() {
            site.watcher = Watcher::open(&site.device.disk, FILE).ok();
        }
        let watcher = site.watcher.as_mut()?;
        let view = match watcher.changed() {
            Ok(false) => return None,
            Ok(true) => watcher.file(&self.schemas.app, &mut self.bodies),
            Err(error) => Err(error),
        };
        match view {
            Ok(view) => view,
            Err(error) => {
                // A file that is damaged shows when it is checked; one being made is seen later.
                self.trace
                    .line(format_args!("    s{at} cannot be read: {error}"));
                self.sites[at].watcher = None;
                None
            }
        }
    }
}

/// What the copies are called that a machine's file made of itself.
pub(super) fn copies_beside(site: &Site) -> BTreeSet<String> {
    let files = site.device.disk.files().into_iter();
    let copies = files.filter(|file| {
        let name = file.strip_prefix(FILE);
        name.is_some_and(|end| end.starts_with(".aside-") && !end.contains("-journal"))
    });
    copies.collect()
}

/// What everybody together knows of ops.
struct KnownOps<'w>(&'w Bodies, &'w History);

impl Known for KnownOps<'_> {
    fn body(&self, id: OpId) -> Option<&OpBody> {
        self.0.get(id)
    }

    fn accepted(&self, id: OpId) -> Option<Version> {
        self.1.named(id)
    }
}
