//! A figure and what it has to reach.

use serde::Serialize;

use crate::stats;

/// One line of the result.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Its name.
    pub(crate) figure: String,
    /// What was measured: the median of all repetitions.
    pub(crate) value: f64,
    /// Of `value` and `baseline`.
    pub(crate) unit: &'static str,
    /// The same of the baseline.
    pub(crate) baseline: Option<f64>,
    /// `value` by `baseline`.
    pub(crate) ratio: Option<f64>,
    /// What to reach.
    pub(crate) target: Target,
    /// Whether it was reached.
    pub(crate) met: bool,
    /// Least and greatest value of the repetitions; for a person's judgement.
    #[serde(skip)]
    pub(crate) spread: Option<(f64, f64)>,
    /// The same of the baseline.
    #[serde(skip)]
    pub(crate) baseline_spread: Option<(f64, f64)>,
}

/// A bound of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// `value / baseline` is at least this.
    RatioAtLeast(f64),
    /// `value / baseline` is at most this.
    RatioAtMost(f64),
    /// `value` is at most this.
    AtMost(f64),
    /// `value - baseline` is at most this.
    OverBaseline(f64),
}

impl Figure {
    /// A figure from the repetitions of both sides, by their medians.
    pub(crate) fn of(
        figure: impl Into<String>,
        unit: &'static str,
        values: &[f64],
        baselines: &[f64],
        target: Target,
    ) -> Figure {
        let value = stats::median(values);
        let baseline = (!baselines.is_empty()).then(|| stats::median(baselines));
        let ratio = baseline
            .filter(|baseline| *baseline != 0.0)
            .map(|baseline| value / baseline);
        Figure {
            figure: figure.into(),
            value,
            unit,
            baseline,
            ratio,
            target,
            met: target.is_met(value, baseline, ratio),
            spread: stats::range(values),
            baseline_spread: stats::range(baselines),
        }
    }
}

impl Target {
    fn is_met(self, value: f64, baseline: Option<f64>, ratio: Option<f64>) -> bool {
        match self {
            Target::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Target::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Target::AtMost(most) => value <= most,
            Target::OverBaseline(most) => baseline.is_some_and(|baseline| value - baseline <= most),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::RatioAtLeast(least) => write!(f, "ratio >= {least:.2}"),
            Target::RatioAtMost(most) => write!(f, "ratio <= {most:.2}"),
            Target::AtMost(most) => write!(f, "value <= {most}"),
            Target::OverBaseline(most) => write!(f, "value - baseline <= {most}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_at_its_bound_and_missed_behind_it() {
        let met = |target, value, baseline| Figure::of("f", "u", &[value], &[baseline], target).met;
        assert!(met(Target::RatioAtLeast(0.7), 70.0, 100.0));
        assert!(!met(Target::RatioAtLeast(0.7), 69.0, 100.0));
        assert!(met(Target::RatioAtMost(2.0), 200.0, 100.0));
        assert!(!met(Target::RatioAtMost(2.0), 201.0, 100.0));
        assert!(met(Target::OverBaseline(8.0), 18.0, 10.0));
        assert!(!met(Target::OverBaseline(8.0), 18.5, 10.0));
        assert!(!Figure::of("f", "u", &[1.0], &[], Target::RatioAtMost(2.0)).met);
    }

    #[test]
    fn a_line_has_the_documented_keys() {
        let figure = Figure::of(
            "insert",
            "1/s",
            &[1.0, 3.0, 2.0],
            &[4.0, 9.0, 4.0],
            Target::RatioAtLeast(0.7),
        );
        let line = serde_json::to_value(&figure).unwrap();
        let mut keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(
            keys,
            [
                "baseline", "figure", "met", "ratio", "target", "unit", "value"
            ]
        );
        assert_eq!(line["ratio"], 0.5);
        assert_eq!(line["target"], "ratio >= 0.70");
        assert_eq!(figure.spread, Some((1.0, 3.0)));
        assert_eq!(figure.baseline_spread, Some((4.0, 9.0)));
    }
}
