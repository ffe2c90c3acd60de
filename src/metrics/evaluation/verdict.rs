//! Which differences between two generated sets are larger than the uncertainty of their values.

use super::evaluated_set::EvaluatedSet;
use crate::metrics::metric::{Better, Estimate, Metric};
use serde::Serialize;

/// How a generated set compares with another: the columns with intervals, by what their difference says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The set.
    pub set: String,
    /// The set that it is compared with.
    pub than: String,
    /// It is better in these.
    pub better: Vec<&'static str>,
    /// It is worse in these.
    pub worse: Vec<&'static str>,
    /// It differs in these, of which no value is better than another.
    pub different: Vec<&'static str>,
    /// The difference is within the uncertainty.
    pub same: Vec<&'static str>,
    /// These depend on the number of images, which differs.
    pub incomparable: Vec<&'static str>,
}

impl Verdict {
    /// `set` against `than`, by the first column of each metric. Values differ if their distance is above the root of the sum of the
    /// squares of their intervals' half widths: the 95 % interval of a difference of independent errors. Errors that both sets share
    /// (those of the real rows) make the verdict careful.
    pub(super) fn of(set: &EvaluatedSet, than: &EvaluatedSet, metrics: &[&'static Metric]) -> Self {
        let (name, other) = (set.name.clone(), than.name.clone());
        let (mut better, mut worse, mut different) = (vec![], vec![], vec![]);
        let (mut same, mut incomparable) = (vec![], vec![]);
        for metric in metrics {
            let Some(column) = metric.columns.first().copied() else { continue };
            let both = set.estimate(column).zip(than.estimate(column));
            let Some(difference) = both.and_then(|(set, than)| beyond(set, than)) else { continue };
            let list = match (metric.better, difference) {
                _ if metric.depends_on_rows && set.rows != than.rows => &mut incomparable,
                (_, 0.0) => &mut same,
                (Better::Neither, _) => &mut different,
                (Better::Higher, d) if d > 0.0 => &mut better,
                (Better::Lower, d) if d < 0.0 => &mut better,
                _ => &mut worse,
            };
            list.push(column);
        }
        Self { set: name, than: other, better, worse, different, same, incomparable }
    }

    /// Whether it says anything: no column has an interval otherwise.
    pub(super) fn says_something(&self) -> bool {
        let Self { better, worse, different, same, incomparable, .. } = self;
        [better, worse, different, same, incomparable].iter().any(|list| !list.is_empty())
    }
}

/// The difference of two values; 0 where it is within their uncertainty, `None` where that is not known.
fn beyond(a: &Estimate, b: &Estimate) -> Option<f64> {
    let half_width = |estimate: &Estimate| estimate.interval.map(|[low, high]| (high - low) / 2.0);
    let uncertainty = half_width(a)?.hypot(half_width(b)?);
    let difference = a.value - b.value;
    (difference.is_finite() && uncertainty.is_finite()).then_some(if difference.abs() > uncertainty {
        difference
    } else {
        0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::metric;
    use crate::metrics::metric::Spread;

    fn set(name: &str, values: &[(&'static str, f64, Option<[f64; 2]>)]) -> EvaluatedSet {
        let estimates = values.iter().map(|&(column, value, interval)| Estimate {
            column,
            value,
            interval,
            spread: Spread::default(),
        });
        EvaluatedSet { name: name.into(), rows: None, estimates: estimates.collect() }
    }

    #[test]
    fn a_column_is_called_different_only_beyond_both_intervals() {
        let around = |value: f64, half: f64| Some([value - half, value + half]);
        let a = set(
            "a",
            &[
                ("fd", 10.0, around(10.0, 3.0)),
                ("precision", 0.7, around(0.7, 0.03)),
                ("recall", 0.5, around(0.5, 0.03)),
                ("vendi", 9.0, around(9.0, 0.1)),
                ("kid", 1.0, None),
            ],
        );
        let b = set(
            "b",
            &[
                ("fd", 15.1, around(15.1, 4.0)),
                ("precision", 0.65, around(0.65, 0.03)),
                ("recall", 0.46, around(0.46, 0.03)),
                ("vendi", 8.0, around(8.0, 0.1)),
                ("kid", 2.0, around(2.0, 0.1)),
            ],
        );
        let metrics: Vec<_> =
            ["fd", "precision", "recall", "vendi", "kid"].map(|name| metric(name).unwrap()).into();
        let verdict = Verdict::of(&a, &b, &metrics);
        // 5.1 is above hypot(3, 4); 0.05 is above, 0.04 below hypot(0.03, 0.03).
        assert_eq!(verdict.better, ["fd", "precision"]);
        assert_eq!((verdict.different, verdict.same), (vec!["vendi"], vec!["recall"]));
        let turned = Verdict::of(&b, &a, &metrics);
        assert_eq!((turned.better, turned.worse), (vec![], vec!["fd", "precision"]));
        assert!(!Verdict::of(&a, &b, &metrics[4..]).says_something());
        // Of sets of two sizes only what does not depend on the size compares.
        let smaller = EvaluatedSet { rows: Some(50), ..b };
        let verdict = Verdict::of(&EvaluatedSet { rows: Some(100), ..a }, &smaller, &metrics);
        assert_eq!(
            (verdict.better, verdict.incomparable),
            (vec!["precision"], vec!["fd", "recall", "vendi"])
        );
    }
}
