//! Single decisions. All schedules of small worlds are in `tests/proofs`.

mod texts;

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::ledger::{LossRule, LostPart};
use crate::op::{Change, ChangeKind, Op, OpBody, Refusal, refusal};
use crate::schema::Schema;
use crate::time::{Reading, Stamp};
use crate::value::Value;

const FIELDS: CollectionId = 1;
const UPDATE_WINS: CollectionId = 2;
const WHOLE: CollectionId = 3;

fn schema() -> Schema {
    let fields = "a = { id = 1, kind = \"integer\" }\nb = { id = 2, kind = \"integer\" }\n";
    let more = "n = { id = 3, kind = \"counter\" }\ns = { id = 4, kind = \"set\" }\n\
                t = { id = 5, kind = \"rich_text\" }\n\
                u = { id = 6, kind = \"rich_text\", max_bytes = 8 }\nl = { id = 7, kind = \"list\" }\n";
    Schema::parse(&format!(
        "[schema]\nname = \"t\"\nversion = 1\n[limits]\nmax_set_elements = 2\n\
         [collections.f]\nid = 1\n[collections.f.fields]\n{fields}{more}\
         [collections.u]\nid = 2\non_conflict_delete = \"update_wins\"\n\
         [collections.u.fields]\n{fields}{more}\
         [collections.w]\nid = 3\nmerge = \"document\"\n[collections.w.fields]\n{fields}"
    ))
    .unwrap()
}

const fn id(n: u8) -> OpId {
    OpId([n; 16])
}

/// A server in memory.
struct Server {
    schema: Schema,
    documents: BTreeMap<(CollectionId, DocumentId), DocumentState>,
    records: BTreeMap<OpId, Record>,
    writers: BTreeMap<u64, String>,
    deleted_bytes: u64,
    counted: bool,
    version: Version,
}

impl History for Server {
    type Error = Infallible;
    fn linked(
        &mut self,
        op: OpId,
        c: CollectionId,
        d: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        Ok(self.records.get(&op).map(|record| record.linked(op, c, d)))
    }
}

impl Workspace for Server {
    fn document(
        &mut self,
        c: CollectionId,
        d: &DocumentId,
    ) -> Result<Option<DocumentState>, Infallible> {
        Ok(self.documents.get(&(c, d.clone())).cloned())
    }
    fn record(&mut self, op: OpId) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(&op).cloned())
    }
    fn writer(&mut self, writer: u64) -> Result<Option<String>, Infallible> {
        Ok(self.writers.get(&writer).cloned())
    }
    fn deleted_bytes(
        &mut self,
        _: CollectionId,
        _: &DocumentId,
        _: u16,
        _: Version,
    ) -> Result<u64, Infallible> {
        Ok(self.deleted_bytes)
    }
    fn is_counted(
        &mut self,
        _: CollectionId,
        _: &DocumentId,
        _: u16,
        _: Version,
    ) -> Result<bool, Infallible> {
        Ok(self.counted)
    }
}

impl Server {
    fn new() -> Server {
        Server {
            schema: schema(),
            documents: BTreeMap::new(),
            records: BTreeMap::new(),
            writers: BTreeMap::new(),
            deleted_bytes: 0,
            counted: true,
            version: 0,
        }
    }

    fn decide_for(&mut self, account: &str, op: &Op, refused: Option<Refusal>) -> Decision {
        let schema = self.schema.clone();
        let stamp = Stamp::at(op.written.wall);
        let mut op = op.clone();
        let Ok(decision) = decide(
            &schema,
            self,
            account,
            &mut op,
            stamp,
            self.version + 1,
            refused,
        );
        self.records.extend(decision.records.iter().cloned());
        if let Some(accepted) = &decision.accepted {
            self.version += 1;
            for writer in &accepted.new_writers {
                self.writers.insert(*writer, account.to_owned());
            }
            for touched in &accepted.documents {
                self.documents.insert(
                    (touched.collection, touched.document.clone()),
                    touched.after.clone(),
                );
            }
        }
        decision
    }

    fn decide(&mut self, op: &Op) -> Decision {
        self.decide_for("one", op, None)
    }

    fn accepts(&mut self, op: &Op) -> Accepted {
        let decision = self.decide(op);
        assert_eq!(decision.verdict, Some(Verdict::Accepted(self.version)));
        decision.accepted.unwrap()
    }

    fn refuses(&mut self, op: &Op) -> String {
        match self.decide(op).verdict {
            Some(Verdict::Rejected(why)) => why.code,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn state(&self, collection: CollectionId) -> &DocumentState {
        &self.documents[&(collection, document())]
    }
}

fn document() -> DocumentId {
    DocumentId::new("d").unwrap()
}

fn change(collection: CollectionId, kind: ChangeKind) -> Change {
    Change::new(collection, document(), kind)
}

fn set(collection: CollectionId, kind: ChangeKind, fields: &[(u16, i64)]) -> Change {
    let registers = fields
        .iter()
        .map(|(field, n)| (*field, Value::Integer(*n)))
        .collect();
    let clock = u64::from(collection == WHOLE);
    Change {
        registers,
        clock,
        ..change(collection, kind)
    }
}

/// An op that had seen everything up to `base`, written at second `n`.
fn op(n: u8, base: Version, changes: Vec<Change>) -> Op {
    let written = Reading {
        wall: i64::from(n) * 1_000,
        ..Reading::default()
    };
    Op {
        id: id(n),
        written,
        body: OpBody {
            base,
            schema: 1,
            changes,
            ..OpBody::default()
        },
    }
}

fn insert(n: u8, collection: CollectionId) -> Op {
    op(
        n,
        0,
        vec![set(collection, ChangeKind::Insert, &[(1, n.into())])],
    )
}

fn aimed(generation: u8, change: Change) -> Change {
    Change {
        generation: Some(id(generation)),
        ..change
    }
}

fn retry(of: &Op, n: u8, base: Version) -> Op {
    let mut again = op(n, base, of.body.changes.clone());
    again.body.retry_of = Some(of.id);
    again
}

#[test]
fn the_first_answer_is_the_answer() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let again = server.decide(&insert(1, FIELDS));
    assert_eq!(again.verdict, Some(Verdict::Accepted(1)));
    assert!(again.accepted.is_none() && again.records.is_empty());
}

#[test]
fn ids_of_another_account_are_not_taken_over() {
    let mut server = Server::new();
    let first = insert(1, FIELDS);
    server.decide_for("other", &first, Some(Refusal::new(refusal::QUOTA, "full")));
    assert_eq!(server.refuses(&first), refusal::ID_TAKEN);
    // Named as the first id of a retry, it would leave the other account's quarantine.
    assert_eq!(server.refuses(&retry(&first, 2, 0)), refusal::ID_TAKEN);
    let mut covering = insert(3, FIELDS);
    covering.body.covers = vec![id(1)];
    assert_eq!(server.refuses(&covering), refusal::ID_TAKEN);
    assert_eq!(server.records.len(), 1, "and nothing is recorded");
}

#[test]
fn a_withdrawal_is_final_and_comes_too_late_for_what_is_decided() {
    let mut server = Server::new();
    let written = insert(1, FIELDS);
    let withdrawn = Op {
        body: written.body.withdrawn(),
        ..written.clone()
    };
    assert_eq!(server.refuses(&withdrawn), refusal::WITHDRAWN);
    assert_eq!(server.refuses(&written), refusal::WITHDRAWN);
    let other = insert(2, FIELDS);
    server.accepts(&other);
    let late = Op {
        body: other.body.withdrawn(),
        ..other
    };
    assert_eq!(server.decide(&late).verdict, Some(Verdict::Accepted(1)));
}

#[test]
fn what_builds_on_a_rejected_insert_is_blocked_until_it_is_retried() {
    let mut server = Server::new();
    let first = insert(1, FIELDS);
    server.decide_for(
        "one",
        &first,
        Some(Refusal::new(refusal::READ_ONLY, "reader")),
    );
    let on_top = || vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(2, 2)]))];
    assert_eq!(server.refuses(&op(2, 0, on_top())), refusal::BLOCKED_BY);
    let accepted = server.accepts(&retry(&first, 3, 0));
    assert_eq!(accepted.names, [id(3), id(1)]);
    assert_eq!(server.records[&id(1)].verdict, Verdict::Accepted(1));
    assert_eq!(
        server.state(FIELDS).generation.opener,
        id(1),
        "named by its first id"
    );
    server.accepts(&op(4, 1, on_top()));
    assert_eq!(server.state(FIELDS).value(2), Some(&Value::Integer(2)));
}

#[test]
fn followers_of_a_retried_insert_are_led_to_where_it_landed() {
    let mut server = Server::new();
    let first = insert(1, FIELDS);
    server.decide_for("one", &first, Some(Refusal::new(refusal::QUOTA, "full")));
    server.accepts(&insert(2, FIELDS));
    server.accepts(&retry(&first, 3, 1));
    // A copy's retry of the same op gets the same answer, and leads there too.
    assert_eq!(
        server.decide(&retry(&first, 4, 1)).verdict,
        Some(Verdict::Accepted(2))
    );
    for (n, opener) in [(5, 1), (6, 3), (7, 4)] {
        let follower = op(
            n,
            server.version,
            vec![aimed(
                opener,
                set(FIELDS, ChangeKind::Update, &[(2, n.into())]),
            )],
        );
        let lost = server.accepts(&follower).lost;
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!(
            server.state(FIELDS).value(2),
            Some(&Value::Integer(n.into())),
            "by {opener}"
        );
    }
}

#[test]
fn covered_ids_get_the_verdict_and_one_leads_to_the_next() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let mut covering = op(
        5,
        1,
        vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(1, 5)]))],
    );
    covering.body.covers = vec![id(2), id(3), id(4)];
    let names = server.accepts(&covering).names;
    assert_eq!(names, [id(5), id(2), id(3), id(4)]);
    let covers: Vec<_> = [2, 3, 4]
        .map(|n| server.records[&id(n)].covers.clone())
        .into();
    assert_eq!(covers, [vec![], vec![id(2)], vec![id(3)]]);
    let Ok(seen) = Seen::follow(
        &mut server,
        (FIELDS, &document()),
        id(9),
        0,
        Some(id(4)),
        &[],
    );
    assert!(
        seen.has(id(2), 99),
        "who follows the last of them has seen all"
    );
}

#[test]
fn a_group_is_rejected_whole() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let missing = Change {
        document: DocumentId::new("e").unwrap(),
        ..change(FIELDS, ChangeKind::Delete)
    };
    let pair = op(
        2,
        1,
        vec![
            aimed(1, set(FIELDS, ChangeKind::Update, &[(1, 2)])),
            missing,
        ],
    );
    assert_eq!(server.refuses(&pair), refusal::NOT_FOUND);
    assert_eq!(server.state(FIELDS).value(1), Some(&Value::Integer(1)));
    assert_eq!(server.version, 1);
}

#[test]
fn limits_hold_for_what_an_op_leads_to() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let mut adds = change(FIELDS, ChangeKind::Update);
    adds.adds.insert(4, vec!["x".into(), "y".into()]);
    server.accepts(&op(2, 1, vec![adds.clone()]));
    adds.adds.insert(4, vec!["z".into()]);
    assert_eq!(
        server.refuses(&op(3, 2, vec![adds])),
        refusal::SET_TOO_LARGE
    );
    let mut counts = change(FIELDS, ChangeKind::Update);
    counts.increments.insert(3, i64::MAX);
    server.accepts(&op(4, 2, vec![counts.clone()]));
    assert_eq!(
        server.refuses(&op(5, 2, vec![counts])),
        refusal::COUNTER_OVERFLOW
    );
    let nowhere = op(6, 2, vec![Change::new(99, document(), ChangeKind::Delete)]);
    assert_eq!(server.refuses(&nowhere), refusal::UNKNOWN_COLLECTION);
}

#[test]
fn one_op_may_touch_a_document_several_times() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let changes = vec![
        aimed(1, change(FIELDS, ChangeKind::Delete)),
        set(FIELDS, ChangeKind::Insert, &[(1, 7)]),
        aimed(2, set(FIELDS, ChangeKind::Update, &[(2, 8)])),
    ];
    let accepted = server.accepts(&op(2, 1, changes));
    assert!(accepted.lost.is_empty() && accepted.echo.is_none());
    let [touched] = accepted.documents.as_slice() else {
        panic!("one document")
    };
    assert!(touched.whole && touched.part() == touched.after);
    assert_eq!(server.state(FIELDS).value(2), Some(&Value::Integer(8)));
}

#[test]
fn an_update_that_changes_nothing_else_is_a_part() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let accepted = server.accepts(&op(
        2,
        1,
        vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(2, 8)]))],
    ));
    assert_eq!(accepted.echo, Some(Stamp::at(2_000)));
    let part = accepted.documents[0].part();
    assert_eq!(part.registers.len(), 1, "only what changed");
    let restored = server.accepts(&op(3, 2, vec![change(FIELDS, ChangeKind::Restore)]));
    assert!(
        restored.documents.is_empty(),
        "a restore of a live document changes nothing"
    );
}

#[test]
fn a_delete_has_seen_any_number_of_its_own_updates() {
    let mut server = Server::new();
    server.accepts(&insert(1, UPDATE_WINS));
    let mut prev = None;
    for n in 2..=101 {
        let mut counts = aimed(1, change(UPDATE_WINS, ChangeKind::Update));
        counts.increments.insert(3, 1);
        counts.prev = prev.replace(id(n));
        server.accepts(&op(n, 1, vec![counts]));
    }
    assert_eq!(
        server.state(UPDATE_WINS).updates,
        [(id(101), 101)],
        "who saw the last saw all"
    );
    let delete = Change {
        prev,
        ..aimed(1, change(UPDATE_WINS, ChangeKind::Delete))
    };
    assert!(server.accepts(&op(102, 1, vec![delete])).lost.is_empty());
    assert!(!server.state(UPDATE_WINS).is_alive());
}

#[test]
fn more_concurrent_updates_than_are_remembered_cancel_a_delete() {
    let mut server = Server::new();
    server.accepts(&insert(1, UPDATE_WINS));
    for n in 2..=70 {
        let mut counts = aimed(1, change(UPDATE_WINS, ChangeKind::Update));
        counts.increments.insert(3, 1);
        server.accepts(&op(n, 1, vec![counts]));
    }
    let state = server.state(UPDATE_WINS);
    assert_eq!((state.updates.len(), state.updates_forgotten), (64, 6));
    let delete = || vec![aimed(1, change(UPDATE_WINS, ChangeKind::Delete))];
    let lost = server.accepts(&op(90, 5, delete())).lost;
    assert_eq!(lost[0].2.rule, LossRule::DeleteCancelled);
    assert_eq!(
        lost[0].2.winner.op,
        id(70),
        "the latest update it had not seen"
    );
    assert!(
        server.accepts(&op(91, 71, delete())).lost.is_empty(),
        "one that saw them all deletes"
    );
}

#[test]
fn a_mapped_delete_spares_an_insert_it_had_not_seen_where_updates_win() {
    for (collection, alive) in [(UPDATE_WINS, true), (FIELDS, false)] {
        let mut server = Server::new();
        server.accepts(&insert(1, collection));
        server.accepts(&insert(2, collection));
        let delete = Change {
            prev: Some(id(2)),
            ..aimed(2, change(collection, ChangeKind::Delete))
        };
        let lost = server.accepts(&op(3, 0, vec![delete])).lost;
        assert_eq!(server.state(collection).is_alive(), alive);
        assert_eq!(lost.is_empty(), !alive, "{lost:?}");
    }
}

#[test]
fn what_builds_on_a_ledgered_op_means_what_that_one_meant() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    server.accepts(&op(
        2,
        1,
        vec![aimed(1, change(FIELDS, ChangeKind::Delete))],
    ));
    server.accepts(&insert(3, FIELDS));
    let late = op(
        4,
        1,
        vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(2, 4)]))],
    );
    assert_eq!(
        server.accepts(&late).lost[0].2.rule,
        LossRule::GenerationGone
    );
    let delete = op(5, 1, vec![aimed(4, change(FIELDS, ChangeKind::Delete))]);
    assert_eq!(server.accepts(&delete).lost[0].2.part, LostPart::Delete);
    assert!(
        server.state(FIELDS).is_alive(),
        "it never meant the third op's document"
    );
}

#[test]
fn a_losing_document_leaves_rows_for_all_its_fields() {
    let mut server = Server::new();
    server.accepts(&insert(9, WHOLE));
    let late = op(
        1,
        0,
        vec![set(WHOLE, ChangeKind::Insert, &[(1, 9), (2, 5)])],
    );
    let lost: Vec<_> = server
        .accepts(&late)
        .lost
        .into_iter()
        .map(|(_, _, lost)| lost)
        .collect();
    let [lost] = lost.as_slice() else {
        panic!("{lost:?}")
    };
    assert_eq!(
        lost.part,
        LostPart::Register(2, Value::Integer(5)),
        "the other value is equal"
    );
    assert_eq!((lost.rule, lost.winner.op), (LossRule::TooLate, id(9)));
}

#[test]
fn what_an_older_write_left_in_a_document_is_lost_by_whoever_had_not_seen_it() {
    let mut server = Server::new();
    let first = set(WHOLE, ChangeKind::Insert, &[(1, 1), (2, 1)]);
    server.accepts(&op(1, 0, vec![first]));
    // It wins the document with one field alone, and its author goes on with the other.
    server.accepts(&insert(2, WHOLE));
    let mut other = aimed(2, set(WHOLE, ChangeKind::Update, &[(2, 3)]));
    other.prev = Some(id(2));
    let lost = server.accepts(&op(3, 0, vec![other])).lost;
    let [(_, _, lost)] = lost.as_slice() else {
        panic!("{lost:?}")
    };
    assert_eq!(lost.part, LostPart::Register(2, Value::Integer(1)));
    assert_eq!((lost.rule, lost.loser.op), (LossRule::Overwritten, id(1)));
    let mut again = aimed(2, set(WHOLE, ChangeKind::Update, &[(2, 4)]));
    again.prev = Some(id(3));
    assert_eq!(server.accepts(&op(4, 0, vec![again])).lost, []);
}

#[test]
fn revision_clocks_are_capped_by_what_an_author_could_know() {
    let mut server = Server::new();
    server.accepts(&insert(1, WHOLE));
    let mut broken = set(WHOLE, ChangeKind::Update, &[(1, 2)]);
    broken.clock = u64::MAX;
    server.accepts(&op(2, 0, vec![aimed(1, broken)]));
    assert_eq!(server.state(WHOLE).clock, 2);
    let mut honest = set(WHOLE, ChangeKind::Update, &[(1, 3)]);
    honest.clock = 2;
    server.accepts(&op(3, 0, vec![aimed(1, honest)]));
    assert_eq!(
        server.state(WHOLE).value(1),
        Some(&Value::Integer(3)),
        "equal clocks: the later stamp"
    );
}
