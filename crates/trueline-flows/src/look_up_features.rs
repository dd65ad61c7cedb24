//! The features that a version reads are looked up in the online store, by the keys in the request, as of the moment of the
//! prediction.

use std::time::{Duration, Instant};
use trueline_features::{Cell, KeyPart, Keys, OnlineStore, OnlineView, ViewRef};
use trueline_ledger::{Millis, ProjectId};
use trueline_serving::{FeatureSource, Frame, InputError, ServingError};
use trueline_tensors::{Builder, Tensor};

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
    ) -> Result<Vec<Tensor>, ServingError> {
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
            let mut own = vec![Builder::default(); view.features.len()];
            for row in 0..frame.rows() {
                // Before the first read nothing was waited for but the processor.
                if row > 0 && began.elapsed() > DEADLINE {
                    return Err(failed(format!("it took more than {} ms", DEADLINE.as_millis())));
                }
                let keys = keys(&view, frame, row)?;
                let found = self.0.get(project, &wanted, &keys).map_err(|e| failed(e.to_string()))?;
                let found = found.filter(|r| oldest.is_none_or(|oldest| r.event_us >= oldest));
                for (i, column) in own.iter_mut().enumerate() {
                    put(column, found.as_ref().and_then(|r| r.values.get(i)));
                }
            }
            let named = view.features.iter().zip(own);
            columns.extend(named.map(|(name, values)| Tensor::column(name.as_str(), values.finish())));
        }
        Ok(columns)
    }
}

/// The keys of a view in a row of the request.
fn keys(view: &OnlineView, frame: &Frame, row: usize) -> Result<Keys, ServingError> {
    let missing = || InputError::MissingColumns {
        missing: view.join_keys.iter().filter(|k| frame.column(k).is_none()).cloned().collect(),
        expected: view.join_keys.clone(),
        found: frame.names(),
    };
    let part = |name: &String| {
        let value = frame.column(name).filter(|c| c.is_column()).ok_or_else(missing)?.values().json(row);
        let wrong = || InputError::WrongType {
            column: name.clone(),
            row,
            expected: "a key: text, a whole number or a boolean".to_owned(),
            found: "something else".to_owned(),
            value: Some(value.to_string()),
        };
        Ok((name.clone(), KeyPart::from_json(&value).ok_or_else(wrong)?))
    };
    let parts = view.join_keys.iter().map(part).collect::<Result<Vec<_>, InputError>>()?;
    Ok(Keys::new(parts))
}

fn put(column: &mut Builder, cell: Option<&Cell>) {
    match cell {
        None | Some(Cell::Null) => column.push_missing(),
        Some(Cell::Bool(on)) => column.push_bool(*on),
        Some(Cell::Int(whole)) => column.push_int(*whole),
        Some(Cell::Float(value)) => column.push_float(*value),
        Some(Cell::Text(text)) => column.push_text(text.clone()),
    }
}
