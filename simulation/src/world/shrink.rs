//! Makes a script that fails as short as it can be: steps are left out, then faults of the world
//! itself, as long as the same oracle objects.

use serde::{Deserialize, Serialize};

use super::{Rates, Schemas, Script, Trace, run_script};

/// A script that once failed, kept so that it never does again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Regression {
    /// What was wrong, in a sentence.
    pub about: String,
    /// The oracle that objected.
    pub oracle: String,
    /// What to do.
    pub script: Script,
}

/// Why a script is none to shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes;

/// Shrinks a script that fails; `told` hears how many steps are left.
///
/// # Errors
/// The script does not fail.
pub fn shrink(
    schemas: &Schemas,
    script: &Script,
    told: impl FnMut(usize),
) -> Result<Regression, Passes> {
    let oracle = objection(schemas, script).ok_or(Passes)?;
    let fails = |script: &Script| objection(schemas, script) == Some(oracle);
    let script = shortest(script.clone(), fails, told);
    let swarm = quietest(&script, fails);
    Ok(Regression {
        about: String::new(),
        oracle: oracle.to_owned(),
        script: swarm,
    })
}

fn objection(schemas: &Schemas, script: &Script) -> Option<&'static str> {
    let outcome = run_script(schemas, script, &Trace::default());
    outcome.failure.map(|(_, violation)| violation.oracle)
}

/// Leaves out steps: half of them, a quarter, and so on, until no single one can be spared.
fn shortest(
    mut script: Script,
    fails: impl Fn(&Script) -> bool,
    mut told: impl FnMut(usize),
) -> Script {
    let mut chunk = script.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut spared = false;
        while at < script.steps.len() {
            let mut shorter = script.clone();
            let end = (at + chunk).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            if fails(&shorter) {
                script = shorter;
                spared = true;
                told(script.steps.len());
            } else {
                at = end;
            }
        }
        match (chunk, spared) {
            (1, false) => return script,
            (1, true) => {}
            _ => chunk = chunk.div_ceil(2),
        }
    }
}

/// Lets what the world does by itself go right, where the script fails without it.
fn quietest(script: &Script, fails: impl Fn(&Script) -> bool) -> Script {
    let calmer: [fn(&mut Script); 9] = [
        |script| script.swarm.weather = Rates::default(),
        |script| script.swarm.any_order = false,
        |script| script.swarm.normal = 0,
        |script| script.swarm.host_tokens = 0,
        |script| script.swarm.second_account = 0,
        |script| script.swarm.readers = 0,
        |script| script.swarm.strict = false,
        |script| script.swarm.far_behind = 0,
        |script| script.swarm.max_ops = 0,
    ];
    let mut script = script.clone();
    for calm in calmer {
        let mut other = script.clone();
        calm(&mut other);
        if other != script && fails(&other) {
            script = other;
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Act;

    #[test]
    fn what_matters_is_kept_and_nothing_else() {
        let mut script = Script::draw(5, 300);
        script.swarm.strict = true;
        let wanted = |script: &Script| {
            let crashes = script.steps.iter().filter(|step| step.act == Act::Twins);
            script.swarm.strict && crashes.count() >= 2
        };
        assert!(wanted(&script));
        let short = quietest(&shortest(script, wanted, |_| {}), wanted);
        assert_eq!(short.steps.len(), 2);
        assert_eq!(short.swarm.weather, Rates::default());
        assert!(short.swarm.strict);
    }
}
