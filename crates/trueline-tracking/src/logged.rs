//! Params and tags of runs. A long value is kept in two parts, of which only the first is in an index.

use crate::model::KeyValue;
use crate::runs::Place;
use crate::schema::INDEXED_CHARS;
use crate::{TrackingError, many};
use std::collections::{BTreeMap, HashMap};
use trueline_db::{Row, Tx};

/// The whole value of a row `x` of params or tags.
pub(crate) const VALUE: &str = "x.value || COALESCE(x.rest, '')";

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Params,
    Tags,
}

impl Table {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Tags => "tags",
        }
    }
}

/// The part of a value that is indexed, and the rest.
pub(crate) fn split(value: &str) -> (&str, Option<&str>) {
    // Bytes are at least as many as characters.
    if value.len() <= INDEXED_CHARS {
        return (value, None);
    }
    match value.char_indices().nth(INDEXED_CHARS) {
        Some((at, _)) => (&value[..at], Some(&value[at..])),
        None => (value, None),
    }
}

fn whole(row: &mut Row, at: usize) -> Result<String, TrackingError> {
    let mut value: String = row.take(at)?;
    if let Some(rest) = row.take::<Option<String>>(at + 1)? {
        value.push_str(&rest);
    }
    Ok(value)
}

/// One value.
pub(crate) fn value(
    tx: &mut Tx<'_>,
    table: Table,
    run: i64,
    key: &str,
) -> Result<Option<String>, TrackingError> {
    let sql = match table {
        Table::Params => "SELECT value, rest FROM params WHERE run = ?1 AND key = ?2",
        Table::Tags => "SELECT value, rest FROM tags WHERE run = ?1 AND key = ?2",
    };
    let row = tx.query_opt(sql, &[run.into(), key.into()])?;
    row.map(|mut row| whole(&mut row, 0)).transpose()
}

/// What several runs have, by their numbers, each sorted by key.
pub(crate) fn of_runs(
    tx: &mut Tx<'_>,
    table: Table,
    runs: &[i64],
) -> Result<HashMap<i64, Vec<KeyValue>>, TrackingError> {
    let mut found: HashMap<i64, Vec<KeyValue>> = HashMap::with_capacity(runs.len());
    for some in many::batches(runs) {
        let sql = some.sql(match table {
            Table::Params => {
                "SELECT run, key, value, rest FROM params WHERE run IN ({list}) ORDER BY run, key"
            }
            Table::Tags => "SELECT run, key, value, rest FROM tags WHERE run IN ({list}) ORDER BY run, key",
        });
        tx.each(&sql, some.params(), |row| {
            let pair = KeyValue { key: row.take(1)?, value: whole(row, 2)? };
            found.entry(row.take(0)?).or_default().push(pair);
            Ok::<_, TrackingError>(())
        })?;
    }
    Ok(found)
}

/// Writes a param unless there is one; answers whether it did.
pub(crate) fn add_param(tx: &mut Tx<'_>, run: Place, key: &str, value: &str) -> Result<bool, TrackingError> {
    let (value, rest) = split(value);
    let made = tx.execute(
        "INSERT INTO params (run, key, value, rest, experiment_n) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        &[run.n.into(), key.into(), value.into(), rest.into(), run.experiment_n.into()],
    )?;
    Ok(made > 0)
}

/// Writes a tag.
pub(crate) fn set_tag(tx: &mut Tx<'_>, run: Place, key: &str, value: &str) -> Result<(), TrackingError> {
    set_tags(tx, run, [(key, value)])
}

/// Writes tags; of two with one key the last holds.
pub(crate) fn set_tags<'a>(
    tx: &mut Tx<'_>,
    run: Place,
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), TrackingError> {
    let by_key: BTreeMap<&str, &str> = tags.into_iter().collect();
    let row = |(key, value): (&str, &str)| {
        let (value, rest) = split(value);
        vec![run.n.into(), key.into(), value.into(), rest.into(), run.experiment_n.into()]
    };
    tx.insert_rows(
        "INSERT INTO tags (run, key, value, rest, experiment_n)",
        by_key.into_iter().map(row).collect(),
        "ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, rest = excluded.rest",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn long_values_are_split_at_a_character() {
        assert_eq!(split("short"), ("short", None));
        let long = "é".repeat(251);
        let (first, rest) = split(&long);
        assert_eq!((first.chars().count(), rest), (250, Some("é")));
        assert_eq!(split(&"é".repeat(250)).1, None);
    }
}
