//! Which of the tensors that came goes into which input.

use crate::error::RunError;
use crate::types::TensorInfo;
use crate::{cast, shape};
use ort::session::SessionInputValue;
use trueline_tensors::Tensor;

/// What a run of the library is given, in the order of the model's inputs.
pub(crate) type Feed<'a> = Vec<SessionInputValue<'a>>;

/// Gives each input the tensor of its name. A single tensor goes into a single input whatever it is called, as MLflow takes
/// an array that has no name.
pub(crate) fn feed<'a>(inputs: &[TensorInfo], given: &'a [Tensor]) -> Result<Feed<'a>, RunError> {
    if let ([input], [tensor]) = (inputs, given) {
        return Ok(vec![one(input, tensor)?]);
    }
    for (i, tensor) in given.iter().enumerate() {
        if !inputs.iter().any(|input| input.name == tensor.name()) {
            return Err(RunError::Unknown { name: tensor.name().to_owned(), takes: names(inputs) });
        }
        if given[..i].iter().any(|other| other.name() == tensor.name()) {
            return Err(RunError::Twice { name: tensor.name().to_owned() });
        }
    }
    let find = |input: &TensorInfo| {
        let tensor = given.iter().find(|tensor| tensor.name() == input.name);
        one(
            input,
            tensor.ok_or_else(|| RunError::Missing { name: input.name.clone(), takes: names(inputs) })?,
        )
    };
    inputs.iter().map(find).collect()
}

fn one<'a>(input: &TensorInfo, tensor: &'a Tensor) -> Result<SessionInputValue<'a>, RunError> {
    cast::value(input, shape::fit(input, tensor.shape())?, tensor)
}

/// Names, as an error tells them.
pub(crate) fn names(of: &[TensorInfo]) -> String {
    let names: Vec<String> = of.iter().map(|one| format!("'{}'", one.name)).collect();
    names.join(", ")
}
