//! How somebody leaves the shared machine: signed out in one way or another, or not at all.

use driftline::SignOut;
use driftline_simvfs::{PowerLoss, Random};

use super::{Export, Household};
use crate::oracles::{self, Judgement};
use crate::world::World;

const LOSSES: [PowerLoss; 3] = [
    PowerLoss::LoseUnsynced,
    PowerLoss::KeepUnsynced,
    PowerLoss::Torn,
];

/// How somebody leaves.
#[derive(Clone, Copy)]
enum Leaving {
    Keep,
    Export,
    Drop,
    /// The app closes the file, and nobody signed out.
    Close,
    Kill,
    PowerLoss,
}

impl World<'_> {
    pub(super) fn leave(&mut self, home: &mut Household, random: &mut Random) -> Judgement {
        use Leaving::{Close, Drop, Export, Keep, Kill};
        let Some(at) = home.open else {
            return Ok(());
        };
        let ways = [
            Close,
            Kill,
            Leaving::PowerLoss,
            Keep,
            Keep,
            Keep,
            Export,
            Export,
            Export,
            Drop,
            Drop,
        ];
        let is_guests = home.files[at].owner.is_none();
        let way = ways[random.below(if is_guests { 3 } else { ways.len() })];
        match way {
            Keep | Export | Drop => self.sign_out(home, at, way, random)?,
            Close => home.shut(),
            Kill => home.end(),
            Leaving::PowerLoss => {
                home.device.power_loss(LOSSES[random.below(3)]);
                home.open = None;
            }
        }
        Ok(())
    }

    fn sign_out(
        &mut self,
        home: &mut Household,
        at: usize,
        way: Leaving,
        random: &mut Random,
    ) -> Judgement {
        let Some(database) = home.device.database().cloned() else {
            return Ok(());
        };
        let mut lines = Vec::new();
        let unsynced = database.unsynced();
        let choice = match (way, &unsynced) {
            (Leaving::Export, _) => SignOut::Export(&mut lines),
            (Leaving::Drop, Ok(unsynced)) => SignOut::Drop {
                unsynced: *unsynced,
            },
            _ => SignOut::Keep,
        };
        let signed_out = database.sign_out(choice);
        drop(database);
        let alive = home.lives();
        match way {
            Leaving::Export if alive => self.count("household: signed out, exported"),
            Leaving::Drop if alive => self.count("household: signed out, dropped"),
            _ => self.count("household: signed out"),
        }
        if matches!(way, Leaving::Drop) {
            // Whatever it said, it may have done it.
            home.kept.retain(|_, file| *file != at);
        }
        if !alive {
            return Ok(());
        }
        let done = oracles::works(signed_out, "signing out")?;
        home.shut();
        match way {
            Leaving::Drop => {
                let there = home.written.iter().filter(|(_, file)| **file == at);
                let there: Vec<String> = there.map(|(mark, _)| mark.clone()).collect();
                self.climate.at_home(|known| known.marks.drop_unsent(there));
            }
            Leaving::Export => {
                let whose = home.files[at].owner.unwrap_or_default();
                self.climate
                    .at_home(|known| known.marks.reaches(whose, &lines, "an export"))?;
                let is_due = home.export.as_ref().is_some_and(|export| !export.taken);
                if done.exported > 0 && !is_due && random.below(3) > 0 {
                    home.files[at].left = true;
                    home.export = Some(Export {
                        whose,
                        lines,
                        from: at,
                        into: None,
                        taken: false,
                    });
                }
            }
            _ => {}
        }
        if random.one_in(3) {
            home.end();
        }
        Ok(())
    }
}
