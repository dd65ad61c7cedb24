//! Which dataset versions a run read: a client says it with a tag of the input, `trueline.dataset`, because MLflow's own
//! datasets are what the client describes, and know nothing of ours.

use trueline_data::{Data, DataError, DatasetRef, DatasetVersion, Which};
use trueline_identity::{Authorized, ReadProject};
use trueline_tracking::DatasetInput;

/// The tag of an input that names a dataset version: `training@2`, `training@<8 or more digits of its id>`.
const DATASET: &str = "trueline.dataset";
/// The tag that says what a run used a dataset for.
pub(crate) const CONTEXT: &str = "mlflow.data.context";

pub(crate) fn tag<'a>(input: &'a DatasetInput, key: &str) -> Option<&'a str> {
    input.tags.iter().find(|t| t.key == key).map(|t| t.value.as_str())
}

/// The dataset version that an input's tag names; as an error, why it names none that there is.
pub(crate) async fn dataset_version(
    data: &Data,
    leave: &Authorized<ReadProject>,
    input: &DatasetInput,
) -> Result<Option<Result<DatasetVersion, String>>, DataError> {
    let Some(named) = tag(input, DATASET) else { return Ok(None) };
    let found = match DatasetRef::parse(named) {
        Ok(wanted) if wanted.which == Which::Newest => {
            let why = "which names no version: write `name@2` or `name@<8 or more digits of its id>`";
            return Ok(Some(Err(format!("its tag `{DATASET}` says `{named}`, {why}"))));
        }
        Ok(wanted) => data.version(leave, &wanted).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(version) => Ok(Some(Ok(version))),
        Err(DataError::NotFound(why) | DataError::Invalid(why)) => Ok(Some(Err(why))),
        Err(other) => Err(other),
    }
}

/// The input that a model was trained on: the one that names a dataset version; of several, that with the context `training`.
pub(crate) fn training_input(inputs: &[DatasetInput]) -> Result<&DatasetInput, String> {
    let named: Vec<&DatasetInput> = inputs.iter().filter(|i| tag(i, DATASET).is_some()).collect();
    let training: Vec<&DatasetInput> =
        named.iter().copied().filter(|i| tag(i, CONTEXT) == Some("training")).collect();
    match (&named[..], &training[..]) {
        ([one], _) | (_, [one]) => Ok(one),
        ([], _) => Err(format!(
            "its run names no dataset version: log it with mlflow.log_input(data, context=\"training\", \
             tags={{\"{DATASET}\": \"<name>@<version>\"}})"
        )),
        _ => Err(format!(
            "its run names {} dataset versions: give the one that it was trained on, and no other, the context \"training\"",
            named.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trueline_tracking::{KeyValue, LoggedDataset};

    fn input(name: &str, tags: &[(&str, &str)]) -> DatasetInput {
        let tags = tags.iter().map(|(k, v)| KeyValue { key: (*k).into(), value: (*v).into() }).collect();
        let text = String::new;
        let dataset = LoggedDataset {
            name: name.to_owned(),
            digest: text(),
            source_type: text(),
            source: text(),
            schema: None,
            profile: None,
        };
        DatasetInput { dataset, tags }
    }

    #[test]
    fn of_several_inputs_the_one_with_context_training_is_what_a_model_was_trained_on() {
        let plain = input("a", &[(CONTEXT, "training")]);
        let named = |name, context| input(name, &[(DATASET, "t@1"), (CONTEXT, context)]);
        let chosen = |inputs: &[DatasetInput]| training_input(inputs).map(|i| i.dataset.name.clone());
        assert!(chosen(std::slice::from_ref(&plain)).unwrap_err().contains("log_input"));
        assert_eq!(chosen(&[plain, named("b", "fit")]), Ok("b".to_owned()));
        assert_eq!(chosen(&[named("b", "evaluation"), named("c", "training")]), Ok("c".to_owned()));
        assert!(chosen(&[named("b", "x"), named("c", "y")]).unwrap_err().contains("2 dataset versions"));
    }
}
