//! Whose file it is and who has it open: accounts, copies, several processes, files of older builds.

use rusqlite::Connection;

use super::{Scenario, Victim, nothing, settled};
use crate::crash::app::Leaving;
use crate::crash::world::{Setup, Step, World};

const GUEST: Setup = Setup {
    guest: true,
    ..Setup::PLAIN
};
const HOST_TOKEN: Setup = Setup {
    host_token: true,
    ..Setup::PLAIN
};

/// A file that does not fit the host's token forgets the one that it knew.
const A_COPY: (Victim, &str) = (
    Victim::Device,
    "SELECT length(value) = 16 FROM _dl_meta WHERE key = 'host_token'",
);

pub(super) const ALL: &[Scenario] = &[
    Scenario::of_device("sign-out", unsent, sign_out),
    Scenario::of_device("sign-out-export", unsent, export_and_sign_out),
    Scenario::of_device("sign-out-drop", unsent, drop_and_sign_out),
    Scenario::of_device("attach", nothing, attach).with(GUEST),
    Scenario::of_device("attach-and-sync", guests_work, attach_and_sync)
        .with(GUEST)
        .coming_to(&[(
            Victim::Device,
            "SELECT count(*) = 0 FROM _dl_meta WHERE key IN ('attach', 'guest')",
        )]),
    Scenario::of_device("restored-copy", put_back, open_and_meet)
        .with(HOST_TOKEN)
        .coming_to(&[A_COPY]),
    Scenario::of_device("two-processes", settled, two_processes)
        .coming_to(&[(Victim::Device, "SELECT term >= 2 FROM _dl_syncer")]),
    Scenario::of_device("private-upgrade", of_the_first_build, open_and_meet).coming_to(&[(
        Victim::Device,
        "SELECT count(*) > 1 FROM _dl_migrations WHERE kind = 'tables'",
    )]),
];

/// Writes that the server has not heard of.
fn unsent(world: &mut World) -> Step {
    settled(world)?;
    for number in 3..7 {
        world.write(number)?;
    }
    Ok(())
}

fn sign_out_as(world: &mut World, leaving: Leaving) -> Step {
    world.open()?;
    world.write(10)?;
    world.sign_out(leaving)?;
    world.open()?;
    world.write(11)
}

fn sign_out(world: &mut World) -> Step {
    sign_out_as(world, Leaving::Keep)
}

fn export_and_sign_out(world: &mut World) -> Step {
    sign_out_as(world, Leaving::Export)
}

fn drop_and_sign_out(world: &mut World) -> Step {
    sign_out_as(world, Leaving::Drop(&[3, 4, 5, 6, 10]))
}

fn guests_work(world: &mut World) -> Step {
    world.open()?;
    for number in 0..3 {
        world.write(number)?;
    }
    world.insert("plans", "p")?;
    world.insert("papers", "q")
}

fn attach(world: &mut World) -> Step {
    guests_work(world)?;
    world.attach()?;
    world.write(10)
}

fn attach_and_sync(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    if !world.attach()? {
        return Ok(());
    }
    world.write(11)?;
    world.sync()?;
    world.write(12)?;
    world.sync()
}

/// The device's file is an older copy: what was sent since is on the server alone.
fn put_back(world: &mut World) -> Step {
    settled(world)?;
    world.close()?;
    let (copy, told) = (world.device.disk.image(), world.model.clone());
    world.open()?;
    for number in 3..6 {
        world.write(number)?;
    }
    world.sync()?;
    world.close()?;
    world.device.kill();
    world.device.disk.restore(&copy);
    world.model.put_back(&told);
    Ok(())
}

fn open_and_meet(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    world.sync()?;
    world.write(11)?;
    world.sync()
}

/// One of two processes fails; the other goes on, and takes over what the first did for both.
fn two_processes(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    world.connect()?;
    world.start_widget()?;
    let app = share(world);
    world.change_places();
    world.write(20)?;
    world.sync_for(60_000)?;
    world.write(21)?;
    world.change_places();
    app
}

fn share(world: &mut World) -> Step {
    world.sync()?;
    world.change_places();
    let written = world.write(11);
    world.change_places();
    written?;
    world.write(12)?;
    world.sync()?;
    world.close()
}

/// What later migrations of the private tables made, taken back: a file of the first build.
const TAKEN_BACK: &str = "
    DROP TABLE _dl_syncer;
    DROP TABLE _dl_crdt;
    DROP TABLE _dl_texts;
    DROP TABLE _dl_texts_stale;
    ALTER TABLE _dl_outbox DROP COLUMN authored_again;
    DELETE FROM _dl_migrations WHERE kind = 'tables' AND version > 1;
    PRAGMA user_version = 1;
";

/// The private tables as the first build made them.
const FIRST_BUILD: &str =
    include_str!("../../../../src/storage/migrations/0001_private_tables.sql");

/// A file that a build wrote which knew the first version of the private tables only.
fn of_the_first_build(world: &mut World) -> Step {
    unsent(world)?;
    world.close()?;
    world.device.kill();
    let made = world.device.with_file(|file| {
        file.execute_batch(TAKEN_BACK)?;
        private_columns(file)
    });
    let first = Connection::open_in_memory().and_then(|file| {
        file.execute_batch(FIRST_BUILD)?;
        private_columns(&file)
    });
    // A migration that is not taken back shows here.
    assert_eq!(made.ok(), first.ok());
    Ok(())
}

/// Every column of every private table that is not a collection's.
fn private_columns(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c
        WHERE t.type = 'table' AND t.name GLOB '_dl_*' AND t.name NOT GLOB '_dl_c_*' ORDER BY 1";
    file.prepare(sql)?
        .query_map((), |row| row.get(0))?
        .collect()
}
