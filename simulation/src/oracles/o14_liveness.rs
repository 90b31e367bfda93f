//! O14: once nothing is in the way everything works, every queue drains and every device arrives, whoever
//! listens hears of it; and no task goes on while time stands still.

use std::fmt::Display;

use super::{Judgement, Violation, object};

const ORACLE: &str = "O14 liveness";

/// How a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number.
    pub number: usize,
    /// The version its file is at.
    pub version: u64,
    /// It has nothing to send and has heard everything, as far as it knows.
    pub settled: bool,
    /// It has a live socket, and nothing else to do.
    pub listens: bool,
}

impl Standing {
    fn is_behind(&self, head: u64) -> bool {
        !self.settled || self.version != head
    }
}

/// Time passed: the tasks did not keep it from that.
pub fn time_passed<T, E>(ran: Result<T, E>) -> Result<T, Violation> {
    ran.map_err(|_| Violation {
        oracle: ORACLE,
        what: "a task goes on and on, and time stands still".to_owned(),
    })
}

/// Nothing is in the way, and so this works.
pub fn works<T, E: Display>(done: Result<T, E>, what: &str) -> Result<T, Violation> {
    done.map_err(|error| Violation {
        oracle: ORACLE,
        what: format!("{what} does not work with nothing in the way: {error}"),
    })
}

/// All are settled where the server stands. `told` says more of one that is not.
pub fn all_arrive(all: &[Standing], head: u64, told: impl FnOnce(usize) -> String) -> Judgement {
    match all.iter().find(|standing| standing.is_behind(head)) {
        None => Ok(()),
        Some(Standing { number, .. }) => object(
            ORACLE,
            format!(
                "s{number} does not arrive at version {head}: {}",
                told(*number)
            ),
        ),
    }
}

/// Whoever listened from `before` until now stands where the server stood `before`.
pub fn listeners_hear(before: &[Standing], now: &[Standing], head: u64) -> Judgement {
    let listened = before.iter().zip(now);
    let mut listened = listened.filter(|(before, now)| before.listens && now.listens);
    match listened.find(|(_, now)| now.version < head) {
        None => Ok(()),
        Some((
            _,
            Standing {
                number, version, ..
            },
        )) => object(
            ORACLE,
            format!("s{number} listens, stands at {version} and has not heard of {head}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_REST: Standing = Standing {
        number: 1,
        version: 7,
        settled: true,
        listens: true,
    };

    #[test]
    fn one_that_does_not_arrive_is_refused() {
        let told = |number| format!("s{number} is silent");
        let behind = Standing {
            version: 6,
            ..AT_REST
        };
        let waiting = Standing {
            settled: false,
            ..AT_REST
        };
        assert_eq!(all_arrive(&[AT_REST, AT_REST], 7, told), Ok(()));
        for odd in [behind, waiting] {
            let refused = all_arrive(&[AT_REST, odd], 7, told);
            assert!(refused.is_err_and(|why| why.what.contains("s1 is silent")));
        }
        let ahead = all_arrive(&[AT_REST], 6, told);
        assert!(ahead.is_err(), "nobody knows more than the server");
    }

    #[test]
    fn a_listener_that_does_not_hear_is_refused() {
        let behind = Standing {
            version: 6,
            ..AT_REST
        };
        let deaf = Standing {
            listens: false,
            ..behind
        };
        assert_eq!(listeners_hear(&[behind], &[AT_REST], 7), Ok(()));
        assert_eq!(listeners_hear(&[deaf], &[behind], 7), Ok(()));
        assert_eq!(listeners_hear(&[behind], &[deaf], 7), Ok(()));
        assert!(listeners_hear(&[behind], &[behind], 7).is_err());
        assert!(listeners_hear(&[AT_REST, behind], &[AT_REST, behind], 7).is_err());
    }

    #[test]
    fn a_task_that_spins_and_a_call_that_fails_are_refused() {
        assert_eq!(time_passed::<_, ()>(Ok(3)), Ok(3));
        assert!(time_passed::<(), _>(Err(())).is_err());
        assert_eq!(works::<_, String>(Ok(3), "opening"), Ok(3));
        assert!(works::<(), _>(Err("closed"), "opening").is_err());
    }
}
