//! `ZipMap`, the last node of most classifiers that sklearn's and boosters' exporters write: it makes of a table of
//! probabilities a list of dictionaries, one for each row. Here it is taken out again, so that the model gives the table,
//! and the classes once.

use crate::outline::{Node, Outline};
use crate::wire::{Field, fields, put_bytes, put_number, varints};
use trueline_tensors::Values;

/// The classes that the columns of an output stand for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ZipMap<'a> {
    /// Index among the graph's nodes.
    pub(crate) node: usize,
    /// The name of the output, which stays.
    pub(crate) output: &'a [u8],
    /// The table's name in the graph.
    input: &'a [u8],
    /// `Int64` or `Text`, one for each column.
    pub(crate) classes: Values,
}

/// The `ZipMap` nodes that stand before an output and can be taken out.
pub(crate) fn find<'a>(outline: &Outline<'a>) -> Vec<ZipMap<'a>> {
    // The node that takes its place is of ONNX's own operators.
    if !outline.opsets.iter().any(|(domain, _)| domain.is_empty() || domain == "ai.onnx") {
        return Vec::new();
    }
    let graph = &outline.graph;
    let known = |node: &Node<'a>| node.operator == b"ZipMap" && node.domain == b"ai.onnx.ml";
    let read = |(index, node): (usize, &Node<'a>)| {
        let ([input], [output]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
        graph.outputs.iter().find(|slot| slot.name == *output)?;
        Some(ZipMap { node: index, output, input, classes: classes(node)? })
    };
    graph.nodes.iter().enumerate().filter(|(_, node)| known(node)).filter_map(read).collect()
}

/// The attribute `classlabels_int64s` or `classlabels_strings`.
fn classes(node: &Node<'_>) -> Option<Values> {
    for attribute in &node.attributes {
        let (mut name, mut numbers, mut texts): (&[u8], _, _) = (b"", Vec::new(), Vec::new());
        for field in fields(attribute) {
            match field.ok()? {
                (1, Field::Bytes(told), _) => name = told,
                (8, ints, _) => varints(ints, &mut numbers).ok()?,
                (9, Field::Bytes(text), _) => texts.push(Some(String::from_utf8_lossy(text).into_owned())),
                _ => {}
            }
        }
        match name {
            b"classlabels_int64s" => {
                return Some(Values::Int64(numbers.into_iter().map(u64::cast_signed).collect()));
            }
            b"classlabels_strings" => return Some(Values::Text(texts)),
            _ => {}
        }
    }
    None
}

impl ZipMap<'_> {
    /// The node that stands in its place: `Identity` from the table to the output.
    pub(crate) fn node(&self) -> Vec<u8> {
        let mut node = Vec::new();
        put_bytes(&mut node, 1, self.input);
        put_bytes(&mut node, 2, self.output);
        put_bytes(&mut node, 4, b"Identity");
        node
    }

    /// What the graph says of the output then: floats, as many rows as come, a column for each class.
    pub(crate) fn slot(&self) -> Vec<u8> {
        let (mut rows, mut columns, mut shape) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes(&mut rows, 2, b"");
        put_number(&mut columns, 1, self.classes.len() as u64);
        put_bytes(&mut shape, 1, &rows);
        put_bytes(&mut shape, 1, &columns);
        let (mut tensor, mut kind, mut slot) = (Vec::new(), Vec::new(), Vec::new());
        put_number(&mut tensor, 1, 1);
        put_bytes(&mut tensor, 2, &shape);
        put_bytes(&mut kind, 1, &tensor);
        put_bytes(&mut slot, 1, self.output);
        put_bytes(&mut slot, 2, &kind);
        slot
    }
}
