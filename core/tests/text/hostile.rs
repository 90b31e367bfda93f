//! What is hostile is refused before Yrs, in time and without memory; its honest neighbours are not.

use std::time::Duration;

use allocation_counter::measure;
use driftline_core::text::TextKind::{List, RichText};
use driftline_core::text::guard::{Check, GuardLimits, Refused, Why, check, check_state, inserted};
use rustix::time::{ClockId, clock_gettime};

use crate::bytes::{Bytes, TOO_LARGE};
use crate::corpus::{ME, OTHER, corpus, marks, mine};
use crate::world::LIMITS;

#[test]
fn every_hostile_input_is_refused_for_its_reason_without_allocating() {
    let marks = marks();
    for fixture in corpus() {
        let mut answer = None;
        let used = measure(|| {
            answer = Some(check(&fixture.bytes, ME, fixture.kind, &marks, &LIMITS));
        });
        assert_eq!(answer, Some(Err(fixture.answer)), "{}", fixture.name);
        assert_eq!(used.count_total, 0, "{} allocates", fixture.name);
    }
}

/// The processor's time of the best of a few runs: what the refusal takes, not what the machine did
/// meanwhile.
fn best(mut run: impl FnMut()) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
    };
    let time = |run: &mut dyn FnMut()| {
        let start = now();
        run();
        now() - start
    };
    (0..7).map(|_| time(&mut run)).min().unwrap()
}

#[test]
fn every_refusal_takes_at_most_a_millisecond() {
    // Unoptimised code is not what is promised.
    let most = Duration::from_millis(if cfg!(debug_assertions) { 8 } else { 1 });
    let marks = marks();
    for fixture in corpus() {
        let took = best(|| {
            let _ = check(&fixture.bytes, ME, fixture.kind, &marks, &LIMITS);
        });
        assert!(took <= most, "{} took {took:?}", fixture.name);
        if took > Duration::from_micros(300) {
            println!("{:40} {took:?}", fixture.name);
        }
    }
}

#[test]
fn honest_neighbours_of_the_hostile_are_let_through() {
    let marks = marks();
    let fits = |kind, bytes: &[u8]| match check(bytes, ME, kind, &marks, &LIMITS) {
        Ok(Check::Fits(checked)) => (checked.from(), checked.next(), checked.inserted_bytes()),
        other => panic!("{other:?}"),
    };
    assert_eq!(fits(RichText, &[0, 0]), (10, 10, 0));
    assert_eq!(fits(RichText, &mine().text("x😀").end()), (10, 13, 5));
    assert_eq!(
        fits(RichText, &mine().right_of(4, OTHER, 19).counted("x").end()),
        (10, 11, 1)
    );
    assert_eq!(
        fits(
            RichText,
            &mine().text("x").deleted(OTHER, &[(0, 1), (1, 19)])
        ),
        (10, 11, 1)
    );
    assert_eq!(
        fits(
            RichText,
            &Bytes::default().number(0).deleted(ME, &[(0, 10)])
        ),
        (10, 10, 0)
    );
    assert_eq!(
        fits(
            RichText,
            &mine().in_text(6).counted("b").counted("null").end()
        ),
        (10, 11, 5)
    );
    let two = mine()
        .in_list(8)
        .number(2)
        .element(ME, 10, "1")
        .element(OTHER, 3, "{}")
        .end();
    assert_eq!(fits(List, &two), (10, 12, 3));
    let again = Bytes::section(ME, 3, 1).text("1234567").end();
    assert_eq!(
        check(&again, ME, RichText, &marks, &LIMITS),
        Ok(Check::Contained)
    );
}

#[test]
fn no_cut_of_an_honest_update_is_let_through() {
    let marks = marks();
    let whole = mine()
        .right_of(4, OTHER, 19)
        .counted("words")
        .deleted(OTHER, &[(0, 1), (3, 5)]);
    for end in 0..whole.len() {
        let answer = check(&whole[..end], ME, RichText, &marks, &LIMITS);
        assert!(
            matches!(answer, Err(Refused::Invalid(_))),
            "{end}: {answer:?}"
        );
    }
}

#[test]
fn a_writer_that_cannot_be_is_refused() {
    for writer in [0, TOO_LARGE, u64::MAX] {
        let answer = check(&[0, 0], writer, RichText, &marks(), &LIMITS);
        assert_eq!(answer, Err(Refused::Invalid(Why::Author)));
    }
}

#[test]
fn states_end_exactly_at_their_marks() {
    let marks = marks();
    let section = |writer, text: &str| {
        let bytes = Bytes::default().number(1).number(writer).number(0);
        bytes.text(text).0
    };
    let state = |sections: &[Vec<u8>]| {
        let start = Bytes::default().number(sections.len() as u64);
        start.raw(&sections.concat()).end()
    };
    let (mine, other) = (section(ME, "0123456789"), section(OTHER, &"x".repeat(20)));
    let why = |bytes: &[u8]| match check_state(bytes, RichText, &marks, &LIMITS) {
        Ok(_) => None,
        Err(Refused::Invalid(why)) => Some(why),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(why(&state(&[other.clone(), mine.clone()])), None);
    assert_eq!(
        why(&state(&[mine.clone(), other.clone()])),
        Some(Why::Marks)
    );
    assert_eq!(why(&state(std::slice::from_ref(&other))), Some(Why::Marks));
    assert_eq!(
        why(&state(&[other.clone(), mine, section(1, "x")])),
        Some(Why::Marks)
    );
    assert_eq!(
        why(&state(&[other.clone(), section(ME, "short")])),
        Some(Why::Marks)
    );
    assert_eq!(
        why(&state(&[other.clone(), section(ME, "0123456789x")])),
        Some(Why::Marks)
    );
    let forgotten = Bytes::default()
        .number(1)
        .number(ME)
        .number(0)
        .in_text(1)
        .number(10)
        .0;
    assert_eq!(why(&state(&[other.clone(), forgotten])), None);
    let stray = Bytes::default()
        .number(1)
        .number(ME)
        .number(0)
        .right_of(4, OTHER, 20)
        .counted("0123456789")
        .0;
    assert_eq!(why(&state(&[other, stray])), Some(Why::Reference));
    let unsorted = [marks[1], marks[0]];
    let answer = check_state(&[0, 0], RichText, &unsorted, &LIMITS);
    assert_eq!(answer, Err(Refused::Invalid(Why::Marks)));
}

#[test]
fn the_ledger_reads_what_was_written() {
    let text = mine().text("late ").end();
    assert_eq!(inserted(&text, RichText, &LIMITS), "late ");
    let list = mine()
        .in_list(8)
        .number(2)
        .element(ME, 10, "1")
        .element(ME, 11, "\"b\"")
        .end();
    assert_eq!(inserted(&list, List, &LIMITS), "1\n\"b\"");
    for fixture in corpus() {
        // Whatever it is, reading it ends, and holds no more than it has.
        assert!(inserted(&fixture.bytes, fixture.kind, &LIMITS).len() <= fixture.bytes.len());
    }
    let tight = GuardLimits {
        max_update: 3,
        ..LIMITS
    };
    assert_eq!(inserted(&text, RichText, &tight), "");
}
