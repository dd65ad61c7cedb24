//! A model file as far as it is read here: who made it, which operators it needs, its initializers and where they lie,
//! its nodes by name. The numbers of fields are those of `onnx.proto`; what the rest means is the library's affair.

use crate::wire::{Damaged, Field, fields, varints};
use std::ops::Range;

/// The value of `TensorProto.data_location` that means another file.
const EXTERNAL: u64 = 1;

/// A model.
#[derive(Debug, Default)]
pub(crate) struct Outline<'a> {
    pub(crate) ir_version: u64,
    pub(crate) producer: String,
    pub(crate) producer_version: String,
    pub(crate) description: String,
    /// Operator sets: domain, empty for ONNX's own, and version.
    pub(crate) opsets: Vec<(String, u64)>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) graph: Graph<'a>,
}

/// Its graph.
#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    /// Where its field stands in the file, tag included; empty when there is none.
    pub(crate) place: Range<usize>,
    pub(crate) bytes: &'a [u8],
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) initializers: Vec<Initializer<'a>>,
    pub(crate) inputs: Vec<Slot<'a>>,
    pub(crate) outputs: Vec<Slot<'a>>,
}

/// A node. Places are in the graph's bytes, as of all that follows.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) place: Range<usize>,
    pub(crate) operator: &'a [u8],
    pub(crate) domain: &'a [u8],
    pub(crate) inputs: Vec<&'a [u8]>,
    pub(crate) outputs: Vec<&'a [u8]>,
    pub(crate) attributes: Vec<&'a [u8]>,
}

/// A constant of the graph.
#[derive(Debug, Default)]
pub(crate) struct Initializer<'a> {
    pub(crate) place: Range<usize>,
    pub(crate) name: &'a [u8],
    /// A value of `TensorProto.DataType`.
    pub(crate) data_type: u64,
    pub(crate) dims: Vec<u64>,
    /// Its values, when they stand in the file as bytes.
    pub(crate) raw: Option<&'a [u8]>,
    /// Where they stand otherwise.
    pub(crate) external: Option<External>,
}

/// A part of another file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct External {
    pub(crate) location: String,
    pub(crate) offset: u64,
    /// Until the end of the file where it is not said.
    pub(crate) length: Option<u64>,
}

/// An input or output.
#[derive(Debug, Default)]
pub(crate) struct Slot<'a> {
    pub(crate) place: Range<usize>,
    pub(crate) name: &'a [u8],
    /// Whether it is a tensor about whose shape nothing is said, not even how many dimensions there are.
    pub(crate) unranked: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl<'a> Outline<'a> {
    /// Reads a model.
    pub(crate) fn read(file: &'a [u8]) -> Result<Self, Damaged> {
        let mut model = Self::default();
        for field in fields(file) {
            let (number, field, place) = field?;
            match (number, field) {
                (1, Field::Varint(version)) => model.ir_version = version,
                (2, Field::Bytes(name)) => model.producer = text(name),
                (3, Field::Bytes(version)) => model.producer_version = text(version),
                (6, Field::Bytes(words)) => model.description = text(words),
                (7, Field::Bytes(graph)) => {
                    // Two would have to be merged, which nobody writes.
                    if !model.graph.place.is_empty() {
                        return Err(Damaged(place.start));
                    }
                    let start = place.start;
                    model.graph = Graph::read(graph, place).map_err(|_| Damaged(start))?;
                }
                (8, Field::Bytes(opset)) => model.opsets.push(opset_of(opset)?),
                (14, Field::Bytes(entry)) => {
                    let (key, value) = entry_of(entry)?;
                    model.metadata.push((text(key), text(value)));
                }
                _ => {}
            }
        }
        Ok(model)
    }
}

impl<'a> Graph<'a> {
    fn read(bytes: &'a [u8], place: Range<usize>) -> Result<Self, Damaged> {
        let mut graph = Self { place, bytes, ..Self::default() };
        for field in fields(bytes) {
            match field? {
                (1, Field::Bytes(node), place) => graph.nodes.push(Node::read(node, place)?),
                (2, Field::Bytes(name), _) => graph.name = text(name),
                (5, Field::Bytes(tensor), place) => {
                    graph.initializers.push(Initializer::read(tensor, place)?);
                }
                (11, Field::Bytes(slot), place) => graph.inputs.push(Slot::read(slot, place)?),
                (12, Field::Bytes(slot), place) => graph.outputs.push(Slot::read(slot, place)?),
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8], place: Range<usize>) -> Result<Self, Damaged> {
        let mut node = Self { place, ..Self::default() };
        for field in fields(bytes) {
            match field? {
                (1, Field::Bytes(name), _) => node.inputs.push(name),
                (2, Field::Bytes(name), _) => node.outputs.push(name),
                (4, Field::Bytes(operator), _) => node.operator = operator,
                (5, Field::Bytes(attribute), _) => node.attributes.push(attribute),
                (7, Field::Bytes(domain), _) => node.domain = domain,
                _ => {}
            }
        }
        Ok(node)
    }
}

impl<'a> Initializer<'a> {
    fn read(bytes: &'a [u8], place: Range<usize>) -> Result<Self, Damaged> {
        let mut tensor = Self { place, ..Self::default() };
        let (mut external, mut elsewhere) = (External::default(), false);
        for field in fields(bytes) {
            match field? {
                (1, dims, _) => varints(dims, &mut tensor.dims)?,
                (2, Field::Varint(data_type), _) => tensor.data_type = data_type,
                (8, Field::Bytes(name), _) => tensor.name = name,
                (9, Field::Bytes(raw), _) => tensor.raw = Some(raw),
                (13, Field::Bytes(entry), _) => external.told(entry_of(entry)?)?,
                (14, Field::Varint(location), _) => elsewhere = location == EXTERNAL,
                _ => {}
            }
        }
        tensor.external = elsewhere.then_some(external);
        Ok(tensor)
    }
}

impl External {
    fn told(&mut self, (key, value): (&[u8], &[u8])) -> Result<(), Damaged> {
        let number = || text(value).parse().map_err(|_| Damaged(0));
        match key {
            b"location" => self.location = text(value),
            b"offset" => self.offset = number()?,
            b"length" => self.length = Some(number()?),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Slot<'a> {
    fn read(bytes: &'a [u8], place: Range<usize>) -> Result<Self, Damaged> {
        let mut slot = Self { place, ..Self::default() };
        for field in fields(bytes) {
            match field? {
                (1, Field::Bytes(name), _) => slot.name = name,
                (2, Field::Bytes(kind), _) => slot.unranked = is_unranked(kind)?,
                _ => {}
            }
        }
        Ok(slot)
    }
}

/// Whether a `TypeProto` is a tensor (1) whose shape (2) is not there.
fn is_unranked(kind: &[u8]) -> Result<bool, Damaged> {
    for field in fields(kind) {
        if let (1, Field::Bytes(tensor), _) = field? {
            for field in fields(tensor) {
                if field?.0 == 2 {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
    }
    Ok(false)
}

fn opset_of(bytes: &[u8]) -> Result<(String, u64), Damaged> {
    let mut opset = (String::new(), 0);
    for field in fields(bytes) {
        match field? {
            (1, Field::Bytes(domain), _) => opset.0 = text(domain),
            (2, Field::Varint(version), _) => opset.1 = version,
            _ => {}
        }
    }
    Ok(opset)
}

fn entry_of(bytes: &[u8]) -> Result<(&[u8], &[u8]), Damaged> {
    let mut entry: (&[u8], &[u8]) = (b"", b"");
    for field in fields(bytes) {
        match field? {
            (1, Field::Bytes(key), _) => entry.0 = key,
            (2, Field::Bytes(value), _) => entry.1 = value,
            _ => {}
        }
    }
    Ok(entry)
}
