//! A model file made ready for several sessions: without the weights that they share, and without `ZipMap`.

use crate::error::LoadError;
use crate::outline::Outline;
use crate::weights::{self, Weight};
use crate::wire::put_bytes;
use crate::zipmap::ZipMap;
use std::collections::HashMap;
use std::path::Path;

/// The file with what is to be changed, changed; `None` when nothing is.
pub(crate) fn rewrite(
    file: &[u8],
    outline: &Outline<'_>,
    zipmaps: &[ZipMap<'_>],
    shared: &[usize],
) -> Option<Vec<u8>> {
    if zipmaps.is_empty() && shared.is_empty() {
        return None;
    }
    let graph = &outline.graph;
    // Fields of the graph by where they begin: what stands there instead.
    let mut others: HashMap<usize, (usize, u64, Vec<u8>)> = HashMap::new();
    for zipmap in zipmaps {
        let place = &graph.nodes[zipmap.node].place;
        others.insert(place.start, (place.end, 1, zipmap.node()));
        for slot in graph.outputs.iter().filter(|slot| slot.name == zipmap.output) {
            others.insert(slot.place.start, (slot.place.end, 12, zipmap.slot()));
        }
    }
    for weight in shared.iter().map(|i| &graph.initializers[*i]) {
        others.insert(weight.place.start, (weight.place.end, 5, weights::stub(weight)));
    }
    let mut places: Vec<usize> = others.keys().copied().collect();
    places.sort_unstable();
    let (mut changed, mut at) = (Vec::new(), 0);
    for start in places {
        let (end, number, field) = &others[&start];
        changed.extend_from_slice(&graph.bytes[at..start]);
        put_bytes(&mut changed, *number, field);
        at = *end;
    }
    changed.extend_from_slice(&graph.bytes[at..]);

    let mut model = Vec::with_capacity(file.len() - graph.bytes.len() + changed.len() + 10);
    model.extend_from_slice(&file[..graph.place.start]);
    put_bytes(&mut model, 7, &changed);
    model.extend_from_slice(&file[graph.place.end..]);
    Some(model)
}

/// Reads the weights that are shared.
pub(crate) fn read_weights(
    outline: &Outline<'_>,
    shared: &[usize],
    folder: Option<&Path>,
) -> Result<Vec<Weight>, LoadError> {
    shared.iter().map(|i| weights::read(&outline.graph.initializers[*i], folder)).collect()
}
