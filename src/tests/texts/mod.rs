//! Texts and lists in transactions: edited, read back, queried, refused.

mod buttons;
mod leaving;
mod lists;
mod sessions;
mod untold;

pub(super) use leaving::frameless;

use tempfile::TempDir;

use super::{Fixture, config};
use crate::{Database, Offsets, TextEdit, Value};

pub(super) const SCHEMA: &str = r#"
[schema]
name = "journal"
version = 1

[collections.pages]
id = 1
search = ["title", "body"]

[collections.pages.fields]
title = { id = 1, kind = "text" }
body  = { id = 2, kind = "rich_text", max_bytes = "1 KiB" }
steps = { id = 3, kind = "list" }
"#;

pub(super) fn journal() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    journal_in(dir)
}

pub(super) fn journal_in(dir: TempDir) -> Fixture {
    Fixture {
        db: Database::open(config(&dir, SCHEMA)).unwrap(),
        dir,
    }
}

/// A page, and its id.
pub(super) fn page(db: &Database) -> String {
    db.write(|tx| tx.insert("pages", [("title", "Monday")]))
        .unwrap()
        .to_string()
}

fn body(db: &Database, id: &str) -> String {
    let text = db.rich_text("pages", id, "body").unwrap().unwrap();
    // Three ways to the same words.
    let rows = db
        .query("SELECT body FROM pages WHERE id = ?", [id])
        .unwrap();
    assert_eq!(rows.scalar(), Some(&Value::from(text.text())));
    let document = db.get("pages", id).unwrap().unwrap();
    assert_eq!(document.text("body"), Some(text.text()));
    text.text().to_owned()
}

#[test]
fn a_text_is_edited_and_read_in_one_transaction_and_is_one_edit_for_others() {
    let db = journal();
    let id = page(&db);
    assert_eq!(body(&db, &id), "");
    db.write(|tx| {
        let mut text = tx.rich_text("pages", &id, "body")?;
        text.insert(0, "Hello world")?;
        text.edit([
            TextEdit::format(0, 5, [("bold", true)]),
            TextEdit::replace(6, 5, "Emperor"),
            TextEdit::delete(0, 1),
            TextEdit::insert_formatted(0, "J", [("link", "x")]),
        ])?;
        assert_eq!(text.read()?.text(), "Jello Emperor");
        assert_eq!(text.len()?, 13);
        let rows = tx.query("SELECT body FROM pages", ())?;
        assert_eq!(rows.scalar(), Some(&Value::from("Jello Emperor")));
        let found = tx.query("SELECT id FROM pages_search('emperor')", ())?;
        assert_eq!(found.len(), 1, "the full-text index is in step");
        assert_eq!(
            tx.get("pages", &id)?.unwrap().text("body"),
            Some("Jello Emperor")
        );
        tx.rich_text("pages", &id, "body")?.insert(13, "s")
    })
    .unwrap();
    assert_eq!(body(&db, &id), "Jello Emperors");
    let text = db.rich_text("pages", &id, "body").unwrap().unwrap();
    assert_eq!(
        text.delta(),
        r#"[{"insert":"J","attributes":{"link":"x"}},{"insert":"ello","attributes":{"bold":true}},{"insert":" Emperors"}]"#
    );
    let ops = db.ops();
    assert_eq!(ops.len(), 2, "the insert and the edit");
    let edits: usize = ops[1].changes.iter().map(|c| c.texts.len()).sum();
    assert_eq!((ops[1].changes.len(), edits), (1, 1));
}

#[test]
fn edits_follow_each_other_over_transactions_and_survive_opening_again() {
    let db = journal();
    let id = page(&db);
    for n in 0..20 {
        db.write(|tx| {
            let mut text = tx.rich_text("pages", &id, "body")?;
            let end = text.len()?;
            text.insert(end, &format!("{n} "))
        })
        .unwrap();
    }
    let written: String = (0..20).map(|n| format!("{n} ")).collect();
    assert_eq!(body(&db, &id), written);
    let db = db.reopen(SCHEMA).unwrap();
    assert_eq!(body(&db, &id), written);
    db.write(|tx| tx.rich_text("pages", &id, "body")?.delete(0, 2))
        .unwrap();
    assert_eq!(body(&db, &id), &written[2..]);
    assert_eq!(db.count("SELECT count(*) FROM pages_search('19')"), 1);
    assert_eq!(db.count("SELECT count(*) FROM pages_search('\"0\"')"), 0);
}

#[test]
fn offsets_count_what_they_are_said_to_and_never_halve_a_character() {
    let db = journal();
    let id = page(&db);
    let edit = |offsets: Offsets, edit: TextEdit| {
        db.write(|tx| {
            let text = tx.rich_text("pages", &id, "body")?;
            text.with_offsets(offsets).edit([edit])
        })
        .map_err(|error| error.code())
    };
    edit(Offsets::Utf16, TextEdit::insert(0, "a😀é")).unwrap();
    assert_eq!(edit(Offsets::Utf16, TextEdit::insert(3, "b")), Ok(()));
    assert_eq!(body(&db, &id), "a😀bé");
    assert_eq!(edit(Offsets::Utf8, TextEdit::insert(5, "c")), Ok(()));
    assert_eq!(body(&db, &id), "a😀cbé");
    let inside = Err("text_inside_character");
    assert_eq!(edit(Offsets::Utf16, TextEdit::insert(2, "x")), inside);
    assert_eq!(edit(Offsets::Utf16, TextEdit::delete(1, 1)), inside);
    assert_eq!(edit(Offsets::Utf8, TextEdit::delete(1, 2)), inside);
    assert_eq!(edit(Offsets::Utf8, TextEdit::insert(8, "x")), inside);
    let outside = Err("text_out_of_range");
    assert_eq!(edit(Offsets::Utf16, TextEdit::insert(7, "x")), outside);
    assert_eq!(edit(Offsets::Utf8, TextEdit::delete(0, 10)), outside);
    assert_eq!(
        edit(Offsets::Utf16, TextEdit::delete(u32::MAX, u32::MAX)),
        outside
    );
    assert_eq!(body(&db, &id), "a😀cbé", "nothing changed");
}

#[test]
fn what_does_not_fit_is_refused_by_a_word_and_changes_nothing() {
    let db = journal();
    let id = page(&db);
    let mut codes = Vec::new();
    let mut edit = |id: &str, field: &str, edits: Vec<TextEdit>| {
        let written = db.write(|tx| {
            let mut text = tx.rich_text("pages", id, field)?;
            let refused = text.edit(edits).err().map(|error| error.code());
            text.insert(0, "+")?;
            Ok(refused)
        });
        codes.push(match written {
            Ok(refused) => refused.unwrap_or("fine"),
            Err(error) => error.code(),
        });
    };
    let insert = TextEdit::insert(0, "x");
    edit(&id, "body", vec![insert.clone(), TextEdit::insert(9, "y")]);
    edit(&id, "body", vec![TextEdit::insert(0, "a\0b")]);
    edit(&id, "body", vec![TextEdit::insert(0, "x".repeat(2_000))]);
    edit(&id, "body", vec![TextEdit::format(0, 1, [("", true)])]);
    let bytes = Value::Bytes(vec![1]);
    edit(&id, "body", vec![TextEdit::format(0, 1, [("f", bytes)])]);
    let real = Value::Real(f64::NAN);
    edit(&id, "body", vec![TextEdit::format(0, 1, [("f", real)])]);
    edit(&id, "title", vec![insert.clone()]);
    edit(&id, "steps", vec![insert.clone()]);
    edit(&id, "nothing", vec![insert.clone()]);
    edit("nobody", "body", vec![insert]);
    assert_eq!(
        codes,
        [
            "text_out_of_range",
            "text_nul",
            "text_too_long",
            "text_format_name",
            "text_format_value",
            "text_format_value",
            "wrong_kind",
            "wrong_kind",
            "unknown_field",
            "not_found",
        ]
    );
    assert_eq!(body(&db, &id), "++++++", "what was refused left no trace");
    // A text is not set as a whole, and an index cannot be on it.
    let set = db.write(|tx| tx.update("pages", &id, [("body", "x")]));
    assert_eq!(set.unwrap_err().code(), "wrong_kind");
}

#[test]
fn a_transaction_that_fails_leaves_the_text_as_it_was() {
    let db = journal();
    let id = page(&db);
    let failed: crate::Result<()> = db.write(|tx| {
        tx.rich_text("pages", &id, "body")?.insert(0, "gone")?;
        tx.query("SELECT body FROM pages", ())?;
        Err(crate::Error::aborted("no"))
    });
    assert_eq!(failed.unwrap_err().code(), "aborted");
    assert_eq!(body(&db, &id), "");
    assert_eq!(db.count("SELECT count(*) FROM pages_search('gone')"), 0);
    db.write(|tx| tx.rich_text("pages", &id, "body")?.insert(0, "kept"))
        .unwrap();
    assert_eq!(body(&db, &id), "kept");
}

#[test]
fn a_text_goes_with_its_document_and_comes_back_with_it() {
    let db = journal();
    let id = page(&db);
    db.write(|tx| tx.rich_text("pages", &id, "body")?.insert(0, "words"))
        .unwrap();
    db.write(|tx| tx.delete("pages", &id)).unwrap();
    assert!(db.rich_text("pages", &id, "body").unwrap().is_none());
    assert_eq!(db.count("SELECT count(*) FROM pages_search('words')"), 0);
    db.write(|tx| tx.restore("pages", &id)).unwrap();
    assert_eq!(body(&db, &id), "words");
    assert_eq!(db.count("SELECT count(*) FROM pages_search('words')"), 1);
    // A document that is made anew begins with an empty text.
    db.write(|tx| {
        tx.delete("pages", &id)?;
        tx.insert_with_id("pages", &id, [("title", "new")])?;
        tx.rich_text("pages", &id, "body")?.insert(0, "other")
    })
    .unwrap();
    assert_eq!(body(&db, &id), "other");
    assert_eq!(db.count("SELECT count(*) FROM pages_search('words')"), 0);
}

#[test]
fn a_document_is_made_with_its_text_in_one_op() {
    let db = journal();
    let id = db
        .write(|tx| {
            let id = tx.insert("pages", [("title", "Tuesday")])?;
            tx.rich_text("pages", id.as_str(), "body")?
                .insert(0, "Snow")?;
            tx.update("pages", id.as_str(), [("title", "Wednesday")])?;
            tx.rich_text("pages", id.as_str(), "body")?
                .insert(4, " and wind")?;
            Ok(id)
        })
        .unwrap();
    assert_eq!(body(&db, id.as_str()), "Snow and wind");
    let ops = db.ops();
    assert_eq!((ops.len(), ops[0].changes.len()), (1, 1));
}

#[test]
fn without_an_account_text_is_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    let guest = || {
        let mut config = config(&dir, SCHEMA);
        config.account = None;
        Database::open(config).unwrap()
    };
    let db = guest();
    let id = page(&db);
    for words in ["a", "b", "c"] {
        db.write(|tx| {
            tx.rich_text("pages", &id, "body")?.insert(0, words)?;
            tx.list("pages", &id, "steps")?.insert(0, ["1"]).map(drop)
        })
        .unwrap();
    }
    db.close().unwrap();
    let db = guest();
    assert_eq!(body(&db, &id), "cba");
    assert_eq!(db.list("pages", &id, "steps").unwrap().unwrap().len(), 3);
}

/// What the server would refuse is refused here: a text without a limit of its own has the schema's.
#[test]
fn a_text_and_a_list_end_where_the_schemas_values_do() {
    let dir = tempfile::tempdir().unwrap();
    let schema = SCHEMA.replace(", max_bytes = \"1 KiB\"", "").replace(
        "[collections.pages]",
        "[limits]\nmax_value = \"1 KiB\"\n\n[collections.pages]",
    );
    let schema = schema.replace("kind = \"list\"", "kind = \"list\", max_bytes = 100");
    let db = Database::open(config(&dir, &schema)).unwrap();
    let id = page(&db);
    let session = db.open_text("pages", &id, "body").unwrap();
    session
        .edit([TextEdit::insert(0, "x".repeat(1_024))])
        .unwrap();
    let more = session.edit([TextEdit::insert(0, "x")]).unwrap_err();
    assert_eq!(more.code(), "text_too_long");
    session.close().unwrap();
    let put = |json: String| {
        let written = db.write(|tx| tx.list("pages", &id, "steps")?.insert(0, [json]));
        written.map_err(|error| error.code()).map(drop)
    };
    assert_eq!(
        put(format!("\"{}\"", "x".repeat(200))),
        Err("text_element_size")
    );
    let element = format!("\"{}\"", "x".repeat(98));
    for _ in 0..10 {
        put(element.clone()).unwrap();
    }
    assert_eq!(put(element), Err("text_too_long"));
}
