//! How a prediction came to its variant, where a lot was drawn: what statistics need that weigh the arms of a trial. Whose
//! lot it was is the record's key.

use crate::DecodeError;
use crate::record::EVERY;
use crate::wire::{Reader, put_text, put_varint};

/// The lot that a request drew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// What it was drawn for: the id of a rollout, or of whatever else tries variants.
    pub trial: String,
    /// How likely it was to draw the arm that it drew, in millionths; what an observation is weighed with is the inverse.
    pub chance: u32,
    /// What drew.
    pub unit: Unit,
}

/// What was assigned as one, and so counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The caller's key, with all of its requests.
    Key,
    /// A request that has this prediction alone.
    Request,
    /// A request of several rows, of which this is one, counted from 0.
    Row(u32),
}

impl Assignment {
    /// The chance as a fraction of 1.
    #[must_use]
    pub fn probability(&self) -> f64 {
        f64::from(self.chance) / f64::from(EVERY)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_text(out, &self.trial);
        put_varint(out, u64::from(self.chance));
        match self.unit {
            Unit::Key => out.push(0),
            Unit::Request => out.push(1),
            Unit::Row(row) => {
                out.push(2);
                put_varint(out, u64::from(row));
            }
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let trial = reader.text()?;
        let chance = u32::try_from(reader.varint()?).ok().filter(|chance| (1..=EVERY).contains(chance));
        let chance = chance.ok_or(DecodeError("a chance is none"))?;
        let unit = match reader.byte()? {
            0 => Unit::Key,
            1 => Unit::Request,
            2 => Unit::Row(
                u32::try_from(reader.varint()?).map_err(|_| DecodeError("a row is beyond any request"))?,
            ),
            _ => return Err(DecodeError("a unit is none")),
        };
        Ok(Self { trial, chance, unit })
    }
}
