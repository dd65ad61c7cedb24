//! Lists of keys in SQL. A list is padded to one of a few lengths, so that the statement is one that was prepared
//! before.

use std::sync::LazyLock;
use trueline_db::Value;

const LENGTHS: [usize; 4] = [1, 16, 64, 256];

/// The placeholders of each length.
static LISTS: LazyLock<[String; LENGTHS.len()]> = LazyLock::new(|| {
    LENGTHS.map(|length| (1..=length).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", "))
});

/// Some of the keys, at most 256, and room for a parameter or two of the caller's own.
pub(crate) struct Some256 {
    params: Vec<Value>,
    list: &'static str,
}

impl Some256 {
    /// A statement with `{list}` for the keys, which are its first parameters.
    pub(crate) fn sql(&self, text: &str) -> String {
        text.replace("{list}", self.list)
    }

    /// Adds a parameter after the list; answers its placeholder.
    pub(crate) fn push(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("?{}", self.params.len())
    }

    /// The number of the next parameter.
    pub(crate) fn next(&self) -> usize {
        self.params.len() + 1
    }

    pub(crate) fn params(&self) -> &[Value] {
        &self.params
    }
}

/// The keys in parts.
pub(crate) fn batches<K: Copy + Into<Value>>(keys: &[K]) -> impl Iterator<Item = Some256> {
    keys.chunks(LENGTHS[LENGTHS.len() - 1]).map(|some| {
        let place = LENGTHS.iter().position(|length| *length >= some.len()).unwrap_or(LENGTHS.len() - 1);
        let padding = some.last().into_iter().cycle();
        // Room for the caller's parameters, too.
        let mut params = Vec::with_capacity(LENGTHS[place] + 8);
        params.extend(some.iter().chain(padding).take(LENGTHS[place]).map(|key| (*key).into()));
        Some256 { params, list: &LISTS[place] }
    })
}

#[cfg(test)]
mod tests {
    use super::batches;

    #[test]
    fn lists_have_few_lengths_and_no_number_is_lost() {
        let numbers: Vec<i64> = (0..600).collect();
        let parts: Vec<_> = batches(&numbers).collect();
        let lengths: Vec<usize> = parts.iter().map(|p| p.params().len()).collect();
        assert_eq!(lengths, [256, 256, 256]);
        let one: Vec<_> = batches(&[7i64]).collect();
        assert_eq!(one[0].sql("IN ({list})"), "IN (?1)");
        assert_eq!(batches::<i64>(&[]).count(), 0);
        assert_eq!(batches(&[1i64, 2]).next().unwrap().params().len(), 16);
    }
}
