use std::path::Path;

use crate::tests::SCHEMA;
use crate::{Config, Database, Schema, SignOut, file_for, find_file};

const WORKSPACE: &str = "w1";

/// What an app does at each launch.
fn launch(folder: &Path, account: Option<&str>) -> Database {
    let file = find_file(folder, account, WORKSPACE).unwrap();
    open(&file, account)
}

fn open(file: &Path, account: Option<&str>) -> Database {
    let mut config = Config::new(file, Schema::parse(SCHEMA).unwrap(), WORKSPACE);
    config.account = account.map(str::to_owned);
    Database::open(config).unwrap()
}

fn insert(db: &Database, species: &str) {
    db.write(|tx| tx.insert("birds", [("species", species)]))
        .unwrap();
}

fn shown(db: &Database) -> Vec<String> {
    let rows = db
        .query("SELECT species FROM birds ORDER BY species", ())
        .unwrap();
    rows.iter()
        .map(|row| format!("{:?}", row.get("species").unwrap()))
        .collect()
}

#[test]
fn an_attached_guests_file_is_found_at_the_next_launch() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let guest = launch(folder, None);
    insert(&guest, "Adelie");
    guest.close().unwrap();
    let guest = launch(folder, None);
    assert_eq!(shown(&guest).len(), 1, "a guest finds its file again");
    assert!(guest.attach_account("ada", WORKSPACE).unwrap().complete);
    // While it is open too.
    assert_eq!(
        find_file(folder, Some("ada"), WORKSPACE).unwrap(),
        file_for(folder, None, WORKSPACE)
    );
    guest.sign_out(SignOut::Keep).unwrap();

    let ada = launch(folder, Some("ada"));
    assert_eq!(shown(&ada).len(), 1);
    assert_eq!(ada.unsynced().unwrap(), 1);
    ada.close().unwrap();
    // Somebody else, and the same person elsewhere, have their own.
    let grace = launch(folder, Some("grace"));
    assert!(shown(&grace).is_empty());
    let elsewhere = find_file(folder, Some("ada"), "w2").unwrap();
    assert_eq!(elsewhere, file_for(folder, Some("ada"), "w2"));
}

#[test]
fn the_next_guest_does_not_get_what_has_become_an_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    for account in ["ada", "grace", "linus"] {
        let guest = launch(folder, None);
        assert!(shown(&guest).is_empty(), "{account}");
        insert(&guest, account);
        guest.attach_account(account, WORKSPACE).unwrap();
        guest.close().unwrap();
    }
    for account in ["ada", "grace", "linus"] {
        let theirs = launch(folder, Some(account));
        assert_eq!(shown(&theirs).len(), 1);
        assert!(shown(&theirs)[0].contains(account));
    }
}

#[test]
fn of_several_files_the_one_with_unsynced_writes_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let own = file_for(folder, Some("ada"), WORKSPACE);
    open(&own, Some("ada")).close().unwrap();
    let guest = launch(folder, None);
    insert(&guest, "Adelie");
    guest.attach_account("ada", WORKSPACE).unwrap();
    guest.close().unwrap();
    let found = || find_file(folder, Some("ada"), WORKSPACE).unwrap();
    assert_eq!(found(), file_for(folder, None, WORKSPACE));
    let db = open(&own, Some("ada"));
    insert(&db, "Gentoo");
    assert_eq!(found(), own);
    db.outbox().drop_all().unwrap();
    let attached = open(&file_for(folder, None, WORKSPACE), Some("ada"));
    attached.outbox().drop_all().unwrap();
    assert_eq!(found(), own);
}

#[test]
fn what_is_no_file_of_ours_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let own = file_for(folder, Some("ada"), WORKSPACE);
    let missing = folder.join("missing");
    assert_eq!(
        find_file(&missing, Some("ada"), WORKSPACE).unwrap(),
        file_for(&missing, Some("ada"), WORKSPACE)
    );
    assert!(!missing.exists(), "nothing is made");
    std::fs::write(folder.join("driftline-odd.db"), "no database").unwrap();
    std::fs::create_dir(folder.join("driftline-folder.db")).unwrap();
    std::fs::write(&own, "").unwrap();
    assert_eq!(find_file(folder, Some("ada"), WORKSPACE).unwrap(), own);
    let file = folder.join("driftline-odd.db");
    assert_eq!(find_file(&file, Some("ada"), "w").unwrap_err().code(), "io");
    // A guest's own is opened, which says what is wrong with it.
    let guests = file_for(folder, None, WORKSPACE);
    std::fs::write(
        &guests,
        "no database, and larger than a header ".repeat(100),
    )
    .unwrap();
    assert_eq!(find_file(folder, None, WORKSPACE).unwrap(), guests);
}
