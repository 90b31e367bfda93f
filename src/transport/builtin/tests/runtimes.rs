use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::server::{Connection, ok, serve};
use super::*;
use crate::environment::{Executor, ThreadExecutor};

async fn answer_all(mut connection: Connection) {
    while connection.receive().await.is_some() {
        connection.say(ok("here")).await;
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_runtime_that_ended_leaves_nothing_that_could_be_waited_for() {
    let server = serve(answer_all);
    let transport = plain();
    for _ in 0..10 {
        let body = runtime()
            .block_on(answered(&transport, post(server.url(), "x")))
            .unwrap()
            .1;
        assert_eq!(body, b"here");
    }
    assert_eq!(server.accepted(), 10);
}

#[test]
fn a_runtime_that_stands_still_holds_nobody_up() {
    let server = serve(answer_all);
    let transport = plain();
    let (one, two) = (runtime(), runtime());
    for _ in 0..3 {
        for runtime in [&one, &two] {
            let request = with_idle(5_000, post(server.url(), "x"));
            assert_eq!(
                runtime.block_on(answered(&transport, request)).unwrap().1,
                b"here"
            );
        }
    }
    assert_eq!(server.accepted(), 2, "each keeps its own connection");
}

#[test]
fn tasks_of_the_thread_executor_share_one_transport() {
    let server = serve(answer_all);
    let transport = plain();
    let (done, results) = mpsc::channel();
    for _ in 0..4 {
        let (transport, done, url) = (transport.clone(), done.clone(), server.url());
        ThreadExecutor.spawn(
            "request",
            Box::pin(async move {
                for _ in 0..3 {
                    let answer = answered(&transport, post(url.clone(), "x")).await;
                    done.send(answer.map(|(_, body)| body)).ok();
                }
            }),
        );
    }
    for _ in 0..12 {
        assert_eq!(
            results.recv_timeout(Duration::from_secs(20)).unwrap(),
            Ok(b"here".to_vec())
        );
    }
    assert_eq!(server.accepted(), 4);
}

#[test]
fn without_a_runtime_it_says_so() {
    let mut request = plain().request(post("http://127.0.0.1:1/", "x"));
    match request
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(result) => assert!(matches!(refused(result), TransportError::Host(_))),
        Poll::Pending => panic!("it waits for nothing"),
    }
}
