//! How much two filters have to do with each other: normalised pointwise mutual information over traces.
//!
//! With counts `n11` (both), `n1`, `n2` and `n` it is `ln(n11 n / (n1 n2)) / -ln(n11 / n)`, from -1 (never together) over 0
//! (independent) to 1 (always together). Source: G. Bouma, "Normalized (Pointwise) Mutual Information in Collocation
//! Extraction" (2009). The smoothed form adds Jeffreys' prior, one half, to each cell of the table.

use crate::filter::Conditions;
use crate::{TraceError, Traces};
use trueline_identity::{Authorized, ReadProject};
use trueline_search::Expr;

const JEFFREYS: f64 = 0.5;

/// How many traces meet which filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that are looked at.
    pub total: i64,
    /// Those that meet the first.
    pub first: i64,
    /// Those that meet the second.
    pub second: i64,
    /// Those that meet both.
    pub both: i64,
}

/// What two filters have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// From -1 to 1; NaN where it is not defined.
    pub npmi: f64,
    /// The same with a prior, for small counts.
    pub smoothed: f64,
    /// What it was worked out from.
    pub counts: Counts,
}

impl Counts {
    /// The correlation that the counts show.
    #[must_use]
    pub fn correlation(self) -> Correlation {
        let Self { total, first, second, both } = self;
        let cells = [both, first - both, second - both, total - first - second + both];
        let undefined = total <= 0 || first == 0 || second == 0 || cells.iter().any(|cell| *cell < 0);
        if undefined {
            return Correlation { npmi: f64::NAN, smoothed: f64::NAN, counts: self };
        }
        let npmi = if both == 0 { -1.0 } else { npmi(cells, 0.0) };
        Correlation { npmi, smoothed: self::npmi(cells, JEFFREYS), counts: self }
    }
}

fn npmi(cells: [i64; 4], prior: f64) -> f64 {
    if cells[1..] == [0, 0, 0] {
        return 1.0;
    }
    let [both, first_only, second_only, neither] = cells.map(|cell| cell as f64 + prior);
    let total = both + first_only + second_only + neither;
    let (first, second) = (both + first_only, both + second_only);
    if first <= 0.0 || second <= 0.0 || both <= 0.0 {
        return f64::NAN;
    }
    let information = (both.ln() + total.ln()) - (first.ln() + second.ln());
    (information / (total.ln() - both.ln())).clamp(-1.0, 1.0)
}

impl Traces {
    /// How much two filters have to do with each other among the traces of experiments that meet a third.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a filter that can't be.
    pub async fn correlation(
        &self,
        leave: &Authorized<ReadProject>,
        experiments: Vec<i64>,
        [first, second, base]: [Expr; 3],
    ) -> Result<Correlation, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let mut conditions = Conditions::new(tx.dialect(), &project, &experiments);
                let (first, second) = (conditions.of(&first)?, conditions.of(&second)?);
                let base = conditions.of(&base)?;
                let count = |condition: &str| format!("COUNT(CASE WHEN {condition} THEN 1 END)");
                let sql = format!(
                    "SELECT COUNT(*), {}, {}, {} FROM traces t WHERE t.project = ?1 AND {} AND {base}",
                    count(&first),
                    count(&second),
                    count(&format!("{first} AND {second}")),
                    conditions.in_experiments("t.experiment")
                );
                let counts = match tx.query_opt(&sql, &conditions.params)? {
                    None => Counts::default(),
                    Some(mut row) => Counts {
                        total: row.take(0)?,
                        first: row.take(1)?,
                        second: row.take(2)?,
                        both: row.take(3)?,
                    },
                };
                Ok(counts.correlation())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn npmi_of(both: i64, first: i64, second: i64, total: i64) -> f64 {
        Counts { total, first, second, both }.correlation().npmi
    }

    #[test]
    fn never_together_is_minus_one_and_always_together_is_one() {
        assert_eq!(npmi_of(0, 5, 5, 10), -1.0);
        assert!((npmi_of(5, 5, 5, 10) - 1.0).abs() < 1e-12);
        assert_eq!(npmi_of(10, 10, 10, 10), 1.0);
        assert!(npmi_of(25, 50, 50, 100).abs() < 1e-12);
    }

    #[test]
    fn it_is_not_defined_where_a_filter_finds_nothing() {
        assert!(npmi_of(0, 0, 5, 10).is_nan());
        assert!(npmi_of(0, 0, 0, 0).is_nan());
    }

    #[test]
    fn a_known_table_gives_a_known_number() {
        let expected = (60.0_f64 / 42.0).ln() / -(0.6_f64).ln();
        assert!((npmi_of(6, 6, 7, 10) - expected).abs() < 1e-12);
        assert!((npmi_of(6, 6, 7, 10) - 0.698).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn it_is_symmetric_and_stays_between_its_bounds(both in 0_i64..50, a in 0_i64..50, b in 0_i64..50, rest in 0_i64..50) {
            let (first, second, total) = (both + a, both + b, both + a + b + rest);
            let one = Counts { total, first, second, both }.correlation();
            let other = Counts { total, first: second, second: first, both }.correlation();
            prop_assert!(one.npmi.is_nan() == other.npmi.is_nan());
            if !one.npmi.is_nan() {
                prop_assert!((one.npmi - other.npmi).abs() < 1e-12);
                prop_assert!((-1.0..=1.0).contains(&one.npmi) && (-1.0..=1.0).contains(&one.smoothed));
            }
        }
    }
}
