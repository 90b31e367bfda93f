//! Two devices and a server.

use crate::support::{Device, Fault, SCHEMA, Server};
use driftline::Value;

#[test]
pub fn offline_writes_reach_the_other_device() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("written offline");
    a.connect(&server);
    b.connect(&server);
    a.sync();
    b.sync();
    assert_eq!(b.title(&id), Some(Value::from("written offline")));
    assert_eq!(a.content(), b.content());
}

#[test]
pub fn an_answer_lost_after_the_commit_doubles_nothing() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.connect(&server);
    a.sync();
    let id = a.note("counted");
    a.sync();
    a.db.write(|tx| tx.increment("notes", &id, "count", 5))
        .unwrap();
    a.network.next(Fault::LoseAnswer);
    a.sync();
    b.connect(&server);
    b.sync();
    let count = |d: &Device| d.one("SELECT count FROM notes");
    assert_eq!(count(&a), Some(Value::Integer(5)));
    assert_eq!(count(&b), Some(Value::Integer(5)));
}
