//! Two devices of one person, and a backend that has never heard of Driftline.
//!
//! `cargo run --example plain-json-backend` starts `backend.py` (it needs `python3`), writes on both devices
//! without a network, brings them into conflict, and syncs them through a [`SyncProvider`] of this
//! example's own. Given an address, it uses the backend there.
//!
//! [`SyncProvider`]: driftline::provider::SyncProvider

mod backend;
mod provider;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use driftline::{Config, Database, Providers, Row, Schema, SyncConfig, Value};

pub(crate) use backend::Backend;
pub(crate) use provider::PlainJson;

const SCHEMA: &str = r#"
[schema]
name = "field-notes"
version = 1

[collections.birds]
id = 1

[collections.birds.fields]
species = { id = 1, kind = "text", required = true }
mass = { id = 2, kind = "integer" }
sightings = { id = 3, kind = "counter" }
marks = { id = 4, kind = "set" }
"#;

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let mut started = None;
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => started.insert(Backend::start()?).url.clone(),
    };
    println!("backend    {url}");
    tour(&url)
}

/// Both devices write, sync, and must end with the same.
pub(crate) fn tour(url: &str) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let tablet = open(&folder.path().join("tablet.db"))?;
    let phone = open(&folder.path().join("phone.db"))?;

    // Offline: each write is in its file, with its place in the queue.
    let bird = tablet.write(|tx| {
        let bird = tx.insert("birds", [("species", "Adelie")])?;
        tx.update("birds", bird.as_str(), [("mass", 3_750)])?;
        tx.add_to_set("birds", bird.as_str(), "marks", ["banded"])?;
        Ok(bird)
    })?;
    phone.write(|tx| tx.insert("birds", [("species", "Gentoo")]))?;
    println!(
        "offline    {} and {} writes queued",
        tablet.unsynced()?,
        phone.unsynced()?
    );

    connect(&tablet, url)?;
    connect(&phone, url)?;
    sync([&tablet, &phone, &tablet])?;

    // In conflict: this backend lets the last to come win; counters add up, sets keep what was added.
    for (device, mass, mark) in [(&tablet, 3_800, "red"), (&phone, 3_900, "blue")] {
        device.write(|tx| {
            tx.update("birds", bird.as_str(), [("mass", mass)])?;
            tx.increment("birds", bird.as_str(), "sightings", 1)?;
            tx.add_to_set("birds", bird.as_str(), "marks", [mark])
        })?;
    }
    sync([&tablet, &phone, &tablet])?;

    let shown = content(&tablet)?;
    shown.iter().for_each(|row| println!("bird       {row}"));
    let same = shown == content(&phone)?;
    let queued = tablet.unsynced()? + phone.unsynced()?;
    println!("at the end the same on both devices: {same}; writes queued: {queued}");
    match (same, queued) {
        (true, 0) => Ok(()),
        _ => Err("the devices differ".into()),
    }
}

fn open(path: &Path) -> Result<Database, Box<dyn Error>> {
    let config = Config::new(path, Schema::parse(SCHEMA)?, "palmer").with_account("ada");
    Ok(Database::open(config)?)
}

fn connect(device: &Database, url: &str) -> driftline::Result<()> {
    let providers = Providers::new();
    providers.register("plain-json", PlainJson::at(url))?;
    providers.activate("plain-json")?;
    let token = || Ok("token-of-ada".to_owned());
    device.connect(SyncConfig::with_providers(providers, token))?;
    Ok(())
}

/// Syncs the devices one after the other.
fn sync(devices: [&Database; 3]) -> Result<(), Box<dyn Error>> {
    for device in devices {
        let sync = device.sync().ok_or("not connected")?;
        if !sync.sync_until(PATIENCE) {
            return Err(format!("not synced: {:?}", sync.status()).into());
        }
    }
    Ok(())
}

fn content(device: &Database) -> driftline::Result<Vec<String>> {
    let birds = device.query(
        "SELECT species || ', ' || coalesce(mass, 'no') || ' g, seen ' || coalesce(sightings, 0)
             || ' times, marks ' || coalesce(marks, '[]') AS bird
         FROM birds ORDER BY species, id",
        (),
    )?;
    let text = |row: &Row| match row.get("bird") {
        Some(Value::Text(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    Ok(birds.iter().map(text).collect())
}
