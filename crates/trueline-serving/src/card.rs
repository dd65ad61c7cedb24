//! What a loaded version tells of itself.

use crate::signature::{ColumnType, Signature};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use trueline_tensors::DataType;

/// A version behind an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The model's name.
    pub model: String,
    /// The version's number.
    pub version: i64,
    /// What answers: the format and who reads it.
    pub platform: Cow<'static, str>,
    /// What it takes.
    pub inputs: Vec<TensorCard>,
    /// What it gives.
    pub outputs: Vec<TensorCard>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorCard {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
    /// Its dimensions, rows first; -1 for one that varies.
    pub shape: Vec<i64>,
}

impl TensorCard {
    /// So many values for each row, one without a dimension of its own.
    pub(crate) fn new(name: impl Into<String>, data_type: DataType, width: usize) -> Self {
        let inner = (width != 1).then(|| i64::try_from(width).unwrap_or(i64::MAX));
        Self { name: name.into(), data_type, shape: [-1].into_iter().chain(inner).collect() }
    }
}

/// What a signature says is taken.
pub(crate) fn inputs(signature: &Signature) -> Vec<TensorCard> {
    match signature {
        Signature::Columns(columns) | Signature::Places(columns) => {
            columns.iter().map(|c| TensorCard::new(c.name.clone(), data_type(c.kind), 1)).collect()
        }
        Signature::Tensors(tensors) => tensors
            .iter()
            .map(|t| TensorCard {
                name: t.name.clone().unwrap_or_else(|| "input".to_owned()),
                data_type: t.data_type,
                shape: t.shape.clone(),
            })
            .collect(),
        Signature::Unknown => Vec::new(),
    }
}

fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Double => DataType::Fp64,
        ColumnType::Float => DataType::Fp32,
        ColumnType::Long => DataType::Int64,
        ColumnType::Integer => DataType::Int32,
        ColumnType::Boolean => DataType::Bool,
        ColumnType::String | ColumnType::Datetime => DataType::Text,
        ColumnType::Binary => DataType::Bytes,
        ColumnType::Any => DataType::Json,
    }
}
