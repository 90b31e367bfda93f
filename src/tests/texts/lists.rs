//! Lists in transactions.

use super::{journal, page};
use crate::{Database, Value};

fn steps(db: &Database, id: &str) -> String {
    let rows = db
        .query("SELECT steps FROM pages WHERE id = ?", [id])
        .unwrap();
    let Some(Value::Text(json)) = rows.scalar() else {
        panic!("{rows:?}");
    };
    let elements = db.list("pages", id, "steps").unwrap().unwrap();
    let listed: Vec<&str> = elements.iter().map(|e| e.json.as_str()).collect();
    assert_eq!(*json, format!("[{}]", listed.join(",")));
    json.clone()
}

#[test]
fn elements_are_put_in_taken_out_and_moved_by_name() {
    let db = journal();
    let id = page(&db);
    assert_eq!(steps(&db, &id), "[]");
    let ids = db
        .write(|tx| {
            let mut list = tx.list("pages", &id, "steps")?;
            let ids = list.insert(0, [r#""wake""#, r#"{"eat":[1,2]}"#, "3"])?;
            list.move_to(ids[2], 0)?;
            list.remove(ids[0])?;
            assert_eq!(list.read()?.len(), 2);
            Ok(ids)
        })
        .unwrap();
    assert_eq!(steps(&db, &id), r#"[3,{"eat":[1,2]}]"#);
    assert_eq!(db.ops().len(), 2, "all of it is one edit");
    // The names hold in the next transaction, and as text.
    db.write(|tx| {
        let mut list = tx.list("pages", &id, "steps")?;
        list.move_to(ids[1].to_string().parse()?, 0)?;
        list.insert(2, ["null"]).map(drop)
    })
    .unwrap();
    assert_eq!(steps(&db, &id), r#"[{"eat":[1,2]},3,null]"#);
    let document = db.get("pages", &id).unwrap().unwrap();
    assert_eq!(document.text("steps"), Some(r#"[{"eat":[1,2]},3,null]"#));
}

#[test]
fn what_does_not_fit_a_list_is_refused_and_changes_nothing() {
    let db = journal();
    let id = page(&db);
    let mut codes = Vec::new();
    db.write(|tx| {
        let mut list = tx.list("pages", &id, "steps")?;
        let ids = list.insert(0, ["1", "2"])?;
        list.remove(ids[0])?;
        codes.push(list.remove(ids[0]).unwrap_err().code());
        codes.push(list.insert(2, ["1"]).unwrap_err().code());
        codes.push(list.insert(0, ["1", "{"]).unwrap_err().code());
        codes.push(list.move_to(ids[1], 1).unwrap_err().code());
        let deep = "[".repeat(100) + &"]".repeat(100);
        codes.push(list.insert(0, [deep]).unwrap_err().code());
        let large = format!("\"{}\"", "x".repeat(100_000));
        codes.push(list.insert(0, [large]).unwrap_err().code());
        Ok(())
    })
    .unwrap();
    assert_eq!(
        codes,
        [
            "text_no_such_element",
            "text_out_of_range",
            "text_not_json",
            "text_out_of_range",
            "text_element_size",
            "text_element_size",
        ]
    );
    assert_eq!(steps(&db, &id), "[2]");
    assert_eq!(
        "x".parse::<crate::ElementId>().unwrap_err().code(),
        "text_no_such_element"
    );
}
