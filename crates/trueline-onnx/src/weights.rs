//! Weights that all sessions of a model share: taken out of the file once, so that neither the file's bytes nor any session
//! holds a copy of its own.

use crate::error::LoadError;
use crate::outline::{External, Graph, Initializer};
use crate::wire::{put_bytes, put_number};
use half::{bf16, f16};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Smaller ones are left where they are: they cost less than the bookkeeping.
const SMALLEST: u64 = 1 << 16;
/// Models whose shareable weights are fewer bytes than these are left whole.
const WORTH: u64 = 1 << 20;
/// Operators whose weights are shared: they read them as they are, or prepared by the library. Another operator on a constant
/// may be computed once by the library's optimizers, which they do not do where the constant is shared.
const READERS: [&[u8]; 7] = [b"MatMul", b"Gemm", b"Conv", b"ConvTranspose", b"Gather", b"LSTM", b"GRU"];
/// Where the file says they are; nobody looks there, since they are given by name.
const ELSEWHERE: &[u8] = b"shared-weights";

/// One tensor of weights.
#[derive(Debug)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) value: Arc<DynValue>,
    pub(crate) bytes: usize,
}

/// The indexes of the initializers that are worth sharing, in the order of the file.
pub(crate) fn shareable(graph: &Graph<'_>) -> Vec<usize> {
    let inputs: HashSet<&[u8]> = graph.inputs.iter().map(|slot| slot.name).collect();
    let mut readers: HashMap<&[u8], bool> = HashMap::new();
    for node in &graph.nodes {
        let prepared = node.domain.is_empty() && READERS.contains(&node.operator);
        for input in &node.inputs {
            *readers.entry(input).or_insert(true) &= prepared;
        }
    }
    let worth = |weight: &Initializer<'_>| {
        size(weight).is_some_and(|size| size >= SMALLEST)
            && readers.get(weight.name).is_some_and(|prepared| *prepared)
            // What is an input too may be given with a call.
            && !inputs.contains(weight.name)
    };
    let found: Vec<usize> =
        (0..graph.initializers.len()).filter(|i| worth(&graph.initializers[*i])).collect();
    let sum: u64 = found.iter().filter_map(|i| size(&graph.initializers[*i])).sum();
    if sum >= WORTH { found } else { Vec::new() }
}

/// Bytes of its values, when they can be read here: its type is known and its length is what the shape says.
fn size(weight: &Initializer<'_>) -> Option<u64> {
    let element = match weight.data_type {
        2 | 3 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        _ => return None,
    };
    let size = weight.dims.iter().try_fold(element, |size: u64, dim| size.checked_mul(*dim))?;
    let there = match (&weight.external, weight.raw) {
        (Some(external), None) => external.length.unwrap_or(size),
        (None, Some(raw)) => raw.len() as u64,
        _ => return None,
    };
    (there == size && !weight.dims.contains(&0)).then_some(size)
}

/// What stands in the file instead of a shared tensor: the same without its values.
pub(crate) fn stub(weight: &Initializer<'_>) -> Vec<u8> {
    let mut stub = Vec::new();
    for dim in &weight.dims {
        put_number(&mut stub, 1, *dim);
    }
    put_number(&mut stub, 2, weight.data_type);
    put_bytes(&mut stub, 8, weight.name);
    let mut location = Vec::new();
    put_bytes(&mut location, 1, b"location");
    put_bytes(&mut location, 2, ELSEWHERE);
    put_bytes(&mut stub, 13, &location);
    put_number(&mut stub, 14, 1);
    stub
}

/// Reads one tensor, from the model's bytes or the file that they name in `folder`.
pub(crate) fn read(weight: &Initializer<'_>, folder: Option<&Path>) -> Result<Weight, LoadError> {
    let name = String::from_utf8_lossy(weight.name).into_owned();
    let other;
    let raw = match (&weight.external, weight.raw, folder) {
        (None, Some(raw), _) => raw,
        (Some(external), None, Some(folder)) => {
            other = part(external, size(weight).unwrap_or(0), folder)?;
            &other
        }
        _ => return Err(LoadError::Damaged { problem: format!("the initializer '{name}' has no values") }),
    };
    let value = value(weight, raw)
        .map_err(|e| LoadError::Refused { reason: format!("the initializer '{name}': {e}") })?;
    Ok(Weight { name, value: Arc::new(value), bytes: raw.len() })
}

/// The file that an initializer names, which must lie in the model's folder.
pub(crate) fn file_of(location: &str, folder: &Path) -> Result<PathBuf, LoadError> {
    let wrong = |reason: String| LoadError::External { file: location.to_owned(), reason };
    let path = folder.join(location).canonicalize().map_err(|e| wrong(e.to_string()))?;
    let inside = folder.canonicalize().is_ok_and(|folder| path.starts_with(folder));
    if inside { Ok(path) } else { Err(wrong("it lies outside the model's folder".to_owned())) }
}

fn part(external: &External, size: u64, folder: &Path) -> Result<Vec<u8>, LoadError> {
    let wrong = |reason: String| LoadError::External { file: external.location.clone(), reason };
    let file = File::open(file_of(&external.location, folder)?).map_err(|e| wrong(e.to_string()))?;
    let there = file.metadata().map_err(|e| wrong(e.to_string()))?.len();
    // Before memory is taken for it.
    if external.offset.checked_add(size).is_none_or(|end| end > there) {
        return Err(wrong(format!(
            "it has {there} bytes, and {size} from {} on are needed",
            external.offset
        )));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|e| wrong(e.to_string()))?];
    file.read_exact_at(&mut bytes, external.offset).map_err(|e| wrong(e.to_string()))?;
    Ok(bytes)
}

fn value(weight: &Initializer<'_>, raw: &[u8]) -> ort::Result<DynValue> {
    macro_rules! list {
        ($of:ty) => {{
            let (items, _) = raw.as_chunks();
            tensor(&weight.dims, items.iter().map(|bytes| <$of>::from_le_bytes(*bytes)).collect::<Vec<$of>>())
        }};
    }
    match weight.data_type {
        1 => list!(f32),
        2 => list!(u8),
        3 => list!(i8),
        4 => list!(u16),
        5 => list!(i16),
        6 => list!(i32),
        7 => list!(i64),
        10 => list!(f16),
        11 => list!(f64),
        12 => list!(u32),
        13 => list!(u64),
        16 => list!(bf16),
        other => Err(ort::Error::new(format!("its type is {other}"))),
    }
}

fn tensor<T>(dims: &[u64], list: Vec<T>) -> ort::Result<DynValue>
where
    T: PrimitiveTensorElementType + Clone + Debug + 'static,
{
    let shape: Vec<i64> = dims.iter().map(|dim| dim.cast_signed()).collect();
    Ok(Tensor::from_array((shape, list))?.into_dyn())
}
