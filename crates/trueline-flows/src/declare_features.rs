//! Declaring features: the columns that a view names must be those of its dataset, as far as that exists.

use crate::training_set::FeatureFlowError;
use trueline_data::{Data, DataError, DatasetRef};
use trueline_features::{Applied, Declaration, FeatureError, Features, ViewSpec};
use trueline_identity::{Authorized, WriteData};
use trueline_ledger::ProjectId;

/// Declares entities and views. A view over a dataset that has no version yet is taken as it is.
///
/// # Errors
/// What features say, and [`FeatureError::Invalid`] for a column that the dataset lacks.
pub async fn declare_features(
    data: &Data,
    features: &Features,
    leave: &Authorized<WriteData>,
    declaration: Declaration,
) -> Result<Applied, FeatureFlowError> {
    for view in &declaration.views {
        check_columns(data, leave.project(), view).await?;
    }
    Ok(features.apply(leave, declaration).await?)
}

async fn check_columns(data: &Data, project: &ProjectId, view: &ViewSpec) -> Result<(), FeatureFlowError> {
    let version = match data.version_in(project, &DatasetRef::parse(&view.dataset)?).await {
        Ok(version) => version,
        Err(DataError::NotFound(_)) => return Ok(()),
        Err(other) => return Err(other.into()),
    };
    let columns = &version.manifest.columns;
    let named = view.timestamp.iter().chain(&view.created).chain(&view.features);
    for column in named {
        if !columns.iter().any(|c| c.name == *column) {
            let present: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            return Err(FeatureFlowError::Features(FeatureError::Invalid(format!(
                "view {}: dataset {} has no column `{column}`; it has {}",
                view.name,
                view.dataset,
                present.join(", ")
            ))));
        }
    }
    Ok(())
}
