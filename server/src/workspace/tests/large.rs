//! Transactions of many documents: what is read for them does not grow with their square.

use driftline_core::value::Value;

use super::*;

const ANN: OpId = OpId([1; 16]);

/// A change of every one of `count` documents by one transaction of a device.
fn group(op: OpId, device: &str, count: usize, kind: ChangeKind, prev: Option<OpId>) -> Asked {
    let change = |at| {
        let document = DocumentId::new(format!("bird-{at:06}")).unwrap();
        let mut change = Change::new(1, document, kind);
        change.generation = (kind == ChangeKind::Update).then_some(ANN);
        change.prev = prev;
        let value = Value::Text(format!("{device} {at}"));
        change.registers.insert(1, value);
        change
    };
    let body = OpBody {
        schema: 1,
        changes: (0..count).map(change).collect(),
        ..OpBody::default()
    };
    let mut asked = asked(&[]);
    device.clone_into(&mut asked.request.device.id);
    asked.ops = Ops::Read(vec![SentOp::Full {
        id: op,
        when: When::Age(0),
        body,
    }]);
    asked
}

/// Two devices change all documents, neither having seen what the other wrote: everybody's first
/// values are looked up for the ledger. Returns how much was read of the log and of decisions for it.
async fn reads_of_a_conflict(count: usize) -> (u64, u64) {
    let setup = setup();
    for (op, device, kind, prev) in [
        (1, "ann", ChangeKind::Insert, None),
        (2, "ann", ChangeKind::Update, Some(ANN)),
        (3, "ben", ChangeKind::Update, None),
    ] {
        setup.store.versions_read.store(0, Ordering::Relaxed);
        setup.store.records_read.store(0, Ordering::Relaxed);
        let asked = group(OpId([op; 16]), device, count, kind, prev);
        let answers = setup.together(vec![asked]).await;
        assert_eq!(versions(&answers[0]), [u64::from(op)]);
    }
    let mut view = setup.store.read().unwrap();
    let ann = view.device("ann", "ann").unwrap().unwrap();
    let losses = view.losses(ann, 0, usize::MAX).unwrap();
    assert_eq!(losses.len(), count, "every value that was overwritten");
    for (at, loss) in losses.iter().enumerate() {
        assert_eq!(loss.base_value, Value::Text(format!("ann {at}")));
        assert_eq!(loss.winner_value, Value::Text(format!("ben {at}")));
    }
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    (
        read(&setup.store.versions_read),
        read(&setup.store.records_read),
    )
}

#[tokio::test]
async fn a_group_that_meets_a_group_reads_each_once() {
    let (versions, records) = reads_of_a_conflict(40).await;
    assert!(versions <= 6, "{versions} reads of versions");
    assert!(records <= 12, "{records} reads of decisions");
    assert_eq!(reads_of_a_conflict(400).await, (versions, records));
}
