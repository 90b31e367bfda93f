//! The writer of texts after a loss of power under `Normal`.
//!
//! What the loss took may have been sent before: the server then holds text of the file's writer that the
//! file knows nothing of, and what is typed on under that writer takes its clocks a second time. Nothing
//! that the engine notes is believed here: the file is read as processes saw it before the loss, and as
//! the loss left it.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::model::Told;
use super::world::World;
use crate::machine::Device;

/// A write of the app that finds the file so.
const FIRST_AFTER: u32 = 40;

/// What a file says of its writer, and of the app's writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The writer.
    by: i64,
    /// The id of the newest op that was ever in the queue.
    newest: Option<Vec<u8>>,
}

impl Written {
    /// What the device's file says now, to whoever opens it; nothing where it was not made yet.
    pub(super) fn in_file_of(device: &Device) -> Option<Written> {
        device.with_copy(read).ok().flatten()
    }

    /// Writers that nobody may write under any more, once a loss of power left `after`.
    pub(super) fn retired_by(self, after: Option<&Written>) -> BTreeSet<i64> {
        match after {
            Some(after) if after.newest < self.newest => BTreeSet::from([self.by, after.by]),
            // With the file itself its writer is gone.
            None | Some(_) => BTreeSet::new(),
        }
    }
}

fn read(file: &Connection) -> rusqlite::Result<Option<Written>> {
    let sql = "SELECT (SELECT value FROM _dl_meta WHERE key = 'writer'),
        ifnull((SELECT op_id FROM _dl_outbox ORDER BY seq DESC LIMIT 1),
               (SELECT value FROM _dl_meta WHERE key = 'floor'))";
    let written = file.query_row(sql, (), |row| {
        let by: Option<i64> = row.get(0)?;
        let newest = row.get(1)?;
        Ok(by.map(|by| Written { by, newest }))
    });
    written.optional().map(Option::flatten)
}

/// Whoever writes from here on does so under another writer than those that are retired.
pub(super) fn is_another(world: &mut World) -> Result<(), String> {
    if world.retired.is_empty() {
        return Ok(());
    }
    // The file is told of what it lost when somebody writes, not before.
    if world.write(FIRST_AFTER).is_err() || world.model.last_told() != Some(Told::Done) {
        return Err("nothing can be written after a loss of power".to_owned());
    }
    match Written::in_file_of(&world.device) {
        Some(written) if !world.retired.contains(&written.by) => Ok(()),
        Some(_) => {
            Err("a loss of power took writes, and the file goes on under their writer".to_owned())
        }
        None => Err("the file says nothing of its writer".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use driftline::Durability;

    use super::*;
    use crate::crash::point::Ending;
    use crate::crash::scenarios::Victim;
    use crate::crash::schemas::Schemas;
    use crate::crash::verify::{end, verify};
    use crate::crash::world::{Beginning, Setup};

    fn written(by: i64, newest: &[u8]) -> Written {
        Written {
            by,
            newest: Some(newest.to_vec()),
        }
    }

    #[test]
    fn a_writer_is_retired_once_something_of_it_is_lost() {
        let before = || written(1, &[5]);
        assert_eq!(before().retired_by(Some(&written(1, &[5]))), [].into());
        assert_eq!(before().retired_by(Some(&written(1, &[4]))), [1].into());
        let nothing = Written {
            by: 1,
            newest: None,
        };
        assert_eq!(before().retired_by(Some(&nothing)), [1].into());
        // The file had drawn another one meanwhile, and that is lost too.
        assert_eq!(before().retired_by(Some(&written(7, &[4]))), [1, 7].into());
        assert_eq!(before().retired_by(None), [].into());
    }
    /// Two writes of which a loss of power takes the second; `meddled` is done to the file then.
    fn lived(meddled: &str) -> Result<(), String> {
        let setup = Setup {
            durability: Durability::Normal,
            ..Setup::PLAIN
        };
        let mut world = World::new(&Schemas::new(), setup, &Beginning::default(), 1);
        let written = world.open().is_ok()
            && world.write(0).is_ok()
            && world.settles(|database| database.flush()).is_ok()
            && world.write(1).is_ok();
        assert!(written, "nothing is in the way there");
        end(&mut world, Victim::Device, Ending::Power);
        assert_eq!(world.retired.len(), 1);
        world.device.with_file(|file| file.execute_batch(meddled))?;
        verify(&mut world, Victim::Device, Ending::Power).map(drop)
    }

    #[test]
    fn a_file_that_goes_on_under_the_writer_of_what_it_lost_is_found() {
        assert_eq!(lived(""), Ok(()));
        // So it would be had nobody noted that writes may be lost.
        let kept = lived("DELETE FROM _dl_meta WHERE key = 'unsettled'");
        assert!(kept.unwrap_err().contains("goes on under their writer"));
    }
}
