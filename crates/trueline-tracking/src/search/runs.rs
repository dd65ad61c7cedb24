//! Searching runs. An experiment is searched in one of three ways, so that the time it takes follows what is found and not
//! what there is:
//!
//! - *few*: an index says that few runs meet a part of the filter; these are looked at one by one;
//! - *walk*: runs are looked at in the order that was asked for until the page is full;
//! - *sets*: when that would take too long, each comparison is scanned for in its index, and runs are walked through by
//!   looking at bits.
//!
//! What the first runs of a walk tell of the others decides how far it goes.

use super::leaf::{Leaf, values};
use super::order::{Hit, Order};
use super::places::RunPlaces;
use super::sets::{self, Set};
use super::walk::Walk;
use super::{Page, RunSearch};
use crate::TrackingError;
use crate::many::{self, Some256};
use trueline_db::{Tx, Value};
use trueline_search::sql::compile;
use trueline_search::{Comparison, Entity, Expr};

/// What decides between the ways.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// As many runs are looked at one by one.
    pub(super) few: usize,
    /// As many are gathered from an index when a glance told that a walk is long.
    pub(super) several: usize,
    /// How far a walk goes before that.
    pub(super) glance: Patience,
    /// How far it goes before sets are made.
    pub(super) patience: Patience,
    /// Runs of the first stretch of a walk: few, in case that is enough.
    pub(super) short: usize,
    /// Runs of later stretches.
    pub(super) medium: usize,
    /// Runs of a stretch of a walk over bits.
    pub(super) long: usize,
}

impl Bounds {
    /// As measured: a run that is looked at takes some ten microseconds, one that is gathered from an index or walked past
    /// in a set less than one.
    pub(super) const MEASURED: Self = Self {
        few: 5_000,
        several: 40_000,
        glance: Patience { sample: 256, most: 1_000 },
        patience: Patience { sample: 2_000, most: 16_000 },
        short: 64,
        medium: 256,
        long: 20_000,
    };
}

/// How far a walk goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// So many are looked at before anything is concluded from them.
    pub(super) sample: usize,
    /// It ends when so many, and as many as are wanted, are not likely to be enough, and after as many.
    pub(super) most: usize,
}

impl Patience {
    fn ends(self, (looked, found, wanted): (usize, usize, usize)) -> bool {
        let all = self.most.saturating_add(wanted);
        looked >= self.sample && found.saturating_mul(all) < wanted.saturating_mul(looked)
    }
}

/// A run is looked at in the time in which so many are walked past.
const LOOK_COSTS: usize = 12;

/// Whether it is decided or ordered by what points say.
pub(super) fn asks_for_metrics(search: &RunSearch) -> bool {
    let of_filter = search.filter.comparisons().into_iter().map(|c| c.field.entity);
    of_filter.chain(search.order_by.iter().map(|o| o.field.entity)).any(|entity| entity == Entity::Metric)
}

/// The numbers of the runs of a page, and whether there are more.
pub(super) fn find(
    tx: &mut Tx<'_>,
    experiments: &[i64],
    search: &RunSearch,
    bounds: Bounds,
) -> Result<Page<i64>, TrackingError> {
    let order = Order::new(&search.order_by)?;
    let (offset, limit) = (size(search.offset), size(search.limit));
    let wanted = offset.saturating_add(limit).saturating_add(1);
    let mut hits = Vec::new();
    for experiment in experiments.iter().copied() {
        hits.extend(Search { experiment, search, order: &order, wanted, bounds }.run(tx)?);
    }
    hits.sort_unstable_by(|a, b| order.compare(a, b));
    let more = hits.len() >= wanted;
    Ok(Page { items: hits.iter().skip(offset).take(limit).map(|hit| hit.n).collect(), more })
}

pub(super) fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Whether runs that are looked at are known to meet the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Ask,
    Met,
}

/// Few runs that indexes name for a filter, sorted.
struct Few {
    runs: Vec<i64>,
    /// They are just those that meet the filter; else these are among them.
    exactly: bool,
}

/// The comparisons of a filter that every hit meets, ready to be scanned for.
struct Needed {
    leaves: Vec<Leaf>,
    /// There are no others.
    is_all: bool,
}

impl Needed {
    fn of(filter: &Expr) -> Result<Self, TrackingError> {
        let needed = needed(filter);
        let is_all = needed.len() == filter.comparisons().len();
        let leaves = needed.into_iter().map(Leaf::new).collect::<Result<_, _>>()?;
        Ok(Self { leaves, is_all })
    }

    /// Whether indexes lead to all of what the filter asks.
    fn is_indexed(&self) -> bool {
        self.is_all && self.leaves.iter().all(|leaf| leaf.is_narrow)
    }
}

/// How a walk tells which runs are hits.
#[derive(Clone, Copy)]
enum Way<'s> {
    /// By looking at each, for as long as it has patience.
    Looking(Patience),
    /// By a set of all hits; so many are likely to be walked past.
    Within { set: &'s Set, likely: usize },
}

/// A search through one experiment.
struct Search<'a> {
    experiment: i64,
    search: &'a RunSearch,
    order: &'a Order,
    /// Hits that are wanted at the most.
    wanted: usize,
    bounds: Bounds,
}

impl Search<'_> {
    /// The first hits, in order.
    fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Hit>, TrackingError> {
        let needed = Needed::of(&self.search.filter)?;
        let few = self.few(tx, &needed, self.bounds.few)?;
        if let Some(Few { runs, exactly: true }) = few {
            return self.among(tx, &Set::of(&runs), runs);
        }
        if let Some(Few { runs, .. }) = few {
            // Looking at them costs as much as walking past as many, so the walk gets half of that to try.
            let half = (runs.len() / 2).saturating_sub(self.wanted);
            if half > 0 {
                let patience = Patience { most: half, ..self.bounds.glance };
                if let Some(hits) = self.walk(tx, Way::Looking(patience))? {
                    return Ok(hits);
                }
            }
            return self.look_at(tx, &runs, Filter::Ask);
        }
        if let Some(hits) = self.walk(tx, Way::Looking(self.bounds.glance))? {
            return Ok(hits);
        }
        if needed.is_indexed()
            && let Some(Few { runs, exactly: true }) = self.few(tx, &needed, self.bounds.several)?
        {
            return self.among(tx, &Set::of(&runs), runs);
        }
        if let Some(hits) = self.walk(tx, Way::Looking(self.bounds.patience))? {
            return Ok(hits);
        }
        let set = sets::evaluate(tx, self.experiment, &self.search.filter)?;
        match set.few(self.bounds.few) {
            Some(runs) => self.among(tx, &set, runs),
            None => self.walk_within(tx, &set, self.wanted),
        }
    }

    /// The first of those that are known to meet the filter.
    fn among(&self, tx: &mut Tx<'_>, set: &Set, runs: Vec<i64>) -> Result<Vec<Hit>, TrackingError> {
        // Between the first and the last of them lie most runs of the experiment, as a rule.
        let all = match (runs.first(), runs.last()) {
            (Some(first), Some(last)) => usize::try_from(last - first).unwrap_or(usize::MAX),
            _ => return Ok(Vec::new()),
        };
        let passed = self.wanted.saturating_mul(all / runs.len());
        if runs.len() <= self.wanted.saturating_add(passed / LOOK_COSTS).max(self.bounds.short) {
            return self.look_at(tx, &runs, Filter::Met);
        }
        self.walk_within(tx, set, passed.saturating_add(passed / 4))
    }

    /// What indexes name for comparisons that every hit meets, when some of them name `most` at the most.
    fn few(&self, tx: &mut Tx<'_>, needed: &Needed, most: usize) -> Result<Option<Few>, TrackingError> {
        let mut exactly = needed.is_all;
        let mut found: Option<Vec<i64>> = None;
        for leaf in &needed.leaves {
            let named = match leaf.is_narrow {
                true => leaf.few(tx, self.experiment, most)?,
                false => None,
            };
            exactly &= named.is_some();
            found = match (found, named) {
                (Some(mut both), Some(named)) => {
                    both.retain(|n| named.binary_search(n).is_ok());
                    Some(both)
                }
                (found, named) => found.or(named),
            };
            if found.as_ref().is_some_and(Vec::is_empty) {
                return Ok(Some(Few { runs: Vec::new(), exactly: true }));
            }
        }
        Ok(found.map(|runs| Few { runs, exactly }))
    }

    /// Walks past those that are not in the set until enough was found.
    fn walk_within(&self, tx: &mut Tx<'_>, set: &Set, likely: usize) -> Result<Vec<Hit>, TrackingError> {
        Ok(self.walk(tx, Way::Within { set, likely })?.unwrap_or_default())
    }

    /// Walks until enough was found; none when patience ended before.
    fn walk(&self, tx: &mut Tx<'_>, way: Way<'_>) -> Result<Option<Vec<Hit>>, TrackingError> {
        let mut walk = Walk::new(self.experiment, self.order);
        let filter = match way {
            Way::Within { .. } => Filter::Met,
            Way::Looking(_) => Filter::Ask,
        };
        let mut found: Vec<Hit> = Vec::new();
        // Of the group that is still open all must come before any of it is looked at.
        let mut open: Vec<i64> = Vec::new();
        let (mut passed, mut looked) = (0, 0);
        while !walk.is_at_end() {
            let most = match way {
                Way::Within { likely, .. } => passed.max(likely).clamp(self.bounds.medium, self.bounds.long),
                Way::Looking(patience) => {
                    let left = patience.most.saturating_add(self.wanted).saturating_sub(passed);
                    if left == 0 || patience.ends((looked, found.len(), self.wanted)) {
                        return Ok(None);
                    }
                    self.wanted.max(passed).clamp(self.bounds.short, self.bounds.medium).min(left)
                }
            };
            let stretch = walk.next(tx, most)?;
            passed = passed.saturating_add(stretch.runs.len());
            let ended = stretch.runs.len() < most;
            let (closed, rest) =
                stretch.runs.split_at(if ended { stretch.runs.len() } else { stretch.open_from });
            let inside = |n: &&i64| match way {
                Way::Within { set, .. } => set.contains(**n),
                Way::Looking(_) => true,
            };
            if ended || !closed.is_empty() {
                open.extend(closed.iter().filter(inside));
                looked += open.len();
                self.check(tx, (&open, filter), &walk, &mut found)?;
                open.clear();
            }
            open.extend(rest.iter().filter(inside));
            if found.len() >= self.wanted {
                break;
            }
            if ended {
                walk.turn();
            }
        }
        found.sort_unstable_by(|a, b| self.order.compare(a, b));
        found.truncate(self.wanted);
        Ok(Some(found))
    }

    /// Those of these runs that meet the filter, in order.
    fn look_at(&self, tx: &mut Tx<'_>, runs: &[i64], filter: Filter) -> Result<Vec<Hit>, TrackingError> {
        let mut found = Vec::new();
        self.each_hit(tx, runs, filter, |hit| found.push(hit))?;
        found.sort_unstable_by(|a, b| self.order.compare(a, b));
        found.truncate(self.wanted);
        Ok(found)
    }

    fn check(
        &self,
        tx: &mut Tx<'_>,
        (runs, filter): (&[i64], Filter),
        walk: &Walk,
        found: &mut Vec<Hit>,
    ) -> Result<(), TrackingError> {
        self.each_hit(tx, runs, filter, |hit| {
            if walk.takes(&hit) {
                found.push(hit);
            }
        })
    }

    /// Asks the database which of these runs meet the filter.
    fn each_hit(
        &self,
        tx: &mut Tx<'_>,
        runs: &[i64],
        filter: Filter,
        mut see: impl FnMut(Hit),
    ) -> Result<(), TrackingError> {
        for mut some in many::batches(runs) {
            let sql = self.look(&mut some, filter)?;
            tx.each(&sql, some.params(), |row| {
                see(self.order.read(row)?);
                Ok::<_, TrackingError>(())
            })?;
        }
        Ok(())
    }

    /// The statement that looks at some runs.
    fn look(&self, some: &mut Some256, filter: Filter) -> Result<String, TrackingError> {
        let select = self.order.select(|value: Value| some.push(value));
        let experiment = some.push(self.experiment);
        let mut sql = some.sql(&format!("{select} WHERE r.n IN ({{list}})"));
        // The plus keeps SQLite from reading all that an index has of the experiment instead of these few.
        sql.push_str(&format!(" AND +r.experiment_n = {experiment}"));
        if let Some(lifecycle) = self.search.view.lifecycle() {
            sql.push_str(&format!(" AND r.lifecycle = {}", some.push(lifecycle.as_str())));
        }
        if filter == Filter::Ask && self.search.filter != Expr::always() {
            let condition = compile(&self.search.filter, &RunPlaces, some.next())?;
            values(condition.params).for_each(|value| drop(some.push(value)));
            sql.push_str(&format!(" AND ({})", condition.sql));
        }
        Ok(sql)
    }
}

/// Comparisons that every hit meets.
fn needed(filter: &Expr) -> Vec<&Comparison> {
    match filter {
        Expr::And(list) => list.iter().flat_map(needed).collect(),
        Expr::Comparison(comparison) => vec![comparison],
        Expr::Or(_) | Expr::Not(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ViewType;
    use rusqlite::Connection;
    use trueline_search::mlflow::{Kind, parse_filter, parse_order_by};

    #[test]
    fn few_runs_are_looked_at_by_their_numbers_however_many_the_experiment_has() {
        let connection = Connection::open_in_memory().unwrap();
        for migration in crate::MODULE.migrations {
            let sql = migration
                .sql
                .replace("{serial}", "INTEGER PRIMARY KEY")
                .replace("{clustered}", "WITHOUT ROWID");
            connection.execute_batch(&sql).unwrap();
        }
        for (filter, order) in [
            ("", None),
            ("", Some("metrics.m DESC")),
            ("metrics.m > 0.5 AND params.p = '1'", Some("metrics.n")),
            ("attributes.run_name LIKE '%x%'", Some("tags.t")),
        ] {
            let search = RunSearch {
                experiments: Vec::new(),
                filter: parse_filter(Kind::Runs, filter).unwrap(),
                order_by: order.map(|o| parse_order_by(Kind::Runs, o).unwrap()).into_iter().collect(),
                view: ViewType::ActiveOnly,
                offset: 0,
                limit: 50,
            };
            let order = Order::new(&search.order_by).unwrap();
            let search = Search {
                experiment: 1,
                search: &search,
                order: &order,
                wanted: 51,
                bounds: Bounds::MEASURED,
            };
            let mut some = many::batches(&[1i64, 2, 3]).next().unwrap();
            let sql = search.look(&mut some, Filter::Ask).unwrap();
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps =
                explain.query_map(rusqlite::params_from_iter(some.params()), |row| row.get(3)).unwrap();
            let plan: Vec<String> = steps.map(Result::unwrap).collect();
            let by_number = "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)";
            assert!(plan.iter().any(|step| step == by_number), "{filter}: {plan:?}");
            let whole = |step: &String| step.starts_with("SCAN") || step.contains("experiment_n");
            assert!(!plan.iter().any(whole), "{filter}: {plan:?}");
        }
    }
}
