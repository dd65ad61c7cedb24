//! The features that a version reads are looked up in the online store, by the keys in the request, as of the moment of the
//! prediction.

use serde_json::Value as Json;
use std::time::{Duration, Instant};
use trueline_features::{Cell, KeyPart, Keys, OnlineStore, OnlineView, ViewRef};
use trueline_ledger::{Millis, ProjectId};
use trueline_serving::{Column, FeatureSource, Frame, InputError, ServingError};

/// How long a request may take to read its features. Hot rows take microseconds; this is for a slow disk.
const DEADLINE: Duration = Duration::from_millis(500);

/// The online store as a source of features.
#[derive(Clone, Debug)]
pub struct OnlineFeatures(pub OnlineStore);

impl FeatureSource for OnlineFeatures {
    fn features(
        &self,
        project: &ProjectId,
        views: &[String],
        frame: &Frame,
        at_ms: Millis,
    ) -> Result<Vec<Column>, ServingError> {
        let began = Instant::now();
        let mut columns = Vec::new();
        for name in views {
            let failed =
                |why: String| ServingError::Features(format!("features of view {name} can't be read: {why}"));
            let wanted = ViewRef::parse(name).map_err(|e| failed(e.to_string()))?;
            let view = self.0.view(project, &wanted).ok_or_else(|| {
                failed("it is not in the online store; apply it with `trueline features apply`".to_owned())
            })?;
            let oldest = view.ttl.map(|ttl| at_ms.saturating_mul(1_000).saturating_sub(ttl.micros()));
            let mut own = view.features.iter().map(|f| column(f, frame.rows())).collect::<Vec<_>>();
            for row in 0..frame.rows() {
                // Before the first read nothing was waited for but the processor.
                if row > 0 && began.elapsed() > DEADLINE {
                    return Err(failed(format!("it took more than {} ms", DEADLINE.as_millis())));
                }
                let keys = keys(&view, frame, row)?;
                let found = self.0.get(project, &wanted, &keys).map_err(|e| failed(e.to_string()))?;
                let found = found.filter(|r| oldest.is_none_or(|oldest| r.event_us >= oldest));
                for (i, column) in own.iter_mut().enumerate() {
                    column.values.push(found.as_ref().and_then(|r| r.values.get(i)).map_or(Json::Null, json));
                }
            }
            columns.append(&mut own);
        }
        Ok(columns)
    }
}

fn column(name: &str, rows: usize) -> Column {
    Column { name: name.to_owned(), values: Vec::with_capacity(rows) }
}

/// The keys of a view in a row of the request.
fn keys(view: &OnlineView, frame: &Frame, row: usize) -> Result<Keys, ServingError> {
    let missing = || InputError::MissingColumns {
        missing: view.join_keys.iter().filter(|k| frame.column(k).is_none()).cloned().collect(),
        expected: view.join_keys.clone(),
        found: frame.columns().iter().map(|c| c.name.clone()).collect(),
    };
    let part = |name: &String| {
        let value = &frame.column(name).ok_or_else(missing)?.values[row];
        let wrong = || InputError::WrongType {
            column: name.clone(),
            row,
            expected: "a key: text, a whole number or a boolean".to_owned(),
            found: value.to_string(),
        };
        Ok((name.clone(), KeyPart::from_json(value).ok_or_else(wrong)?))
    };
    let parts = view.join_keys.iter().map(part).collect::<Result<Vec<_>, InputError>>()?;
    Ok(Keys::new(parts))
}

fn json(cell: &Cell) -> Json {
    match cell {
        Cell::Null => Json::Null,
        Cell::Bool(on) => Json::Bool(*on),
        Cell::Int(whole) => Json::from(*whole),
        // A float that is not finite is missing, as it is in JSON.
        Cell::Float(value) => Json::from(*value),
        Cell::Text(text) => Json::from(text.as_str()),
    }
}
