//! O16: nothing panics, also where the product catches it and goes on, and no server fails whose disk
//! does not.

use super::{Judgement, object};

const ORACLE: &str = "O16 panic";

/// Nobody heard a panic.
pub fn nothing_panicked(heard: Option<String>) -> Judgement {
    heard.map_or(Ok(()), |what| object(ORACLE, what))
}

/// A server that met no fault on its disk has an answer to everything. (503 says that it has none yet.)
pub fn server_answers(status: u16, met_a_fault: bool, what: &str) -> Judgement {
    match !met_a_fault && status >= 500 && status != 503 {
        true => object(
            ORACLE,
            format!("{what} was answered {status}, and nothing is wrong with the server's disk"),
        ),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_was_caught_is_refused() {
        assert_eq!(nothing_panicked(None), Ok(()));
        assert!(nothing_panicked(Some("over this".to_owned())).is_err());
    }

    #[test]
    fn a_server_that_fails_for_nothing_is_refused() {
        for (status, met_a_fault) in [(200, false), (404, false), (503, false), (500, true)] {
            assert_eq!(server_answers(status, met_a_fault, "x"), Ok(()));
        }
        assert!(server_answers(500, false, "x").is_err());
        assert!(server_answers(507, false, "x").is_err());
    }
}
