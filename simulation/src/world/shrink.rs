//! Makes a script that fails as short as it can be: steps are left out, then faults of the world
//! itself, as long as the same oracle objects.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Rates, Schemas, Script, Swarm, Trace, run_script};

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

/// Lets what the world does by itself go right, where the script fails without it: one setting after the
/// other, and of the weather all at once first.
fn quietest(script: &Script, fails: impl Fn(&Script) -> bool) -> Script {
    let mut quiet = script.clone();
    let mut attempt = |other: Option<Script>| {
        if let Some(other) = other.filter(|other| *other != quiet && fails(other)) {
            quiet = other;
        }
        quiet.clone()
    };
    let mut calm = script.clone();
    calm.swarm.weather = Rates::default();
    let mut script = attempt(Some(calm));
    for setting in settings(&script.swarm) {
        script = attempt(without(&script, &setting));
    }
    for devices in 1..script.swarm.devices {
        let mut fewer = script.clone();
        fewer.swarm.devices = devices;
        let tried = attempt(Some(fewer));
        if tried != script {
            return tried;
        }
    }
    script
}

/// Where the settings of a world stand, whichever there are.
fn settings(swarm: &Swarm) -> Vec<String> {
    let fields = |of: &Value, at: &str| -> Vec<String> {
        let fields = of.as_object().into_iter().flatten();
        fields.map(|(name, _)| format!("{at}/{name}")).collect()
    };
    let swarm = serde_json::to_value(swarm).unwrap_or_default();
    let mut all = fields(&swarm["weather"], "/weather");
    all.extend(fields(&swarm, ""));
    all.retain(|setting| !["/weather", "/devices"].contains(&setting.as_str()));
    all
}

/// The script with a setting at rest, which nothing, false and empty are; none where it is another kind.
fn without(script: &Script, setting: &str) -> Option<Script> {
    let mut swarm = serde_json::to_value(&script.swarm).ok()?;
    let value = swarm.pointer_mut(setting)?;
    *value = match value {
        Value::Number(_) => 0.into(),
        Value::Bool(_) => false.into(),
        Value::String(_) => "".into(),
        _ => return None,
    };
    let mut script = script.clone();
    script.swarm = serde_json::from_value(swarm).ok()?;
    Some(script)
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

    #[test]
    fn every_setting_is_tried_by_itself() {
        let mut script = Script::draw(5, 2);
        let swarm = &mut script.swarm;
        (swarm.devices, swarm.live, swarm.json, swarm.watches) = (5, 3, 3, 3);
        (swarm.page_bytes, swarm.snapshot_frame, swarm.editors) = (300, 500, true);
        (swarm.weather.late, swarm.weather.twice) = (60, 60);
        swarm.filtered = "s1.12".to_owned();
        let wanted = |script: &Script| {
            let swarm = &script.swarm;
            let rest = (swarm.json, swarm.page_bytes) == (3, 300) && swarm.devices >= 3;
            rest && swarm.weather.late == 60
        };
        let quiet = quietest(&script, wanted).swarm;
        assert_eq!((quiet.devices, quiet.json, quiet.page_bytes), (3, 3, 300));
        assert_eq!((quiet.live, quiet.watches, quiet.snapshot_frame), (0, 0, 0));
        assert_eq!((quiet.weather.late, quiet.weather.twice), (60, 0));
        assert!(!quiet.editors && quiet.filtered.is_empty());
        // Nothing is left that could be spared.
        let set = |setting: &String| without(&script, setting).is_some();
        assert!(settings(&script.swarm).iter().all(set));
    }
}
