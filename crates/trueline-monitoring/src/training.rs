//! Monitors that compare with training data: each version with what it was trained on. What that is, a flow finds out when
//! the first prediction of a version is counted; here it is kept, and it stays as it was found.

use crate::error::{stored, to_store};
use crate::monitors::{Monitor, Monitoring, by_id};
use crate::spec::ReferenceSource;
use crate::{MonitoringError, Reference};
use serde::{Deserialize, Serialize};
use serde_json::json;
use trueline_db::Tx;
use trueline_ledger::{Actor, NewEvent};

/// What is known of the data that a version was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingData {
    /// What it counted.
    Known(Reference),
    /// Why there is none.
    Unknown(String),
}

/// A version with what is known of its training data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainedVersion {
    /// The version, `model/3`.
    pub variant: String,
    /// What is known.
    pub data: TrainingData,
}

/// How a monitor stands with what it compares windows with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceState {
    /// It is learnt from the first complete window, which is not over yet.
    Learning,
    /// It is known, and comes from there.
    Known(String),
    /// There is none, and why.
    Unknown(String),
}

/// What windows are compared with: the same for all versions, or for each its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Against<'a> {
    One(&'a Reference),
    Each(&'a [TrainedVersion]),
}

impl<'a> Against<'a> {
    /// What a version's inputs are compared with, or why there is nothing.
    pub(crate) fn of(self, variant: &str) -> Result<&'a Reference, &'a str> {
        match self {
            Self::One(reference) => Ok(reference),
            Self::Each(known) => match known.iter().find(|t| t.variant == variant).map(|t| &t.data) {
                Some(TrainingData::Known(reference)) => Ok(reference),
                Some(TrainingData::Unknown(reason)) => Err(reason),
                None => Err("its training data was not looked up yet"),
            },
        }
    }
}

pub(crate) fn of_monitor(tx: &mut Tx<'_>, monitor: &str) -> Result<Vec<TrainedVersion>, MonitoringError> {
    let rows = tx.query(
        "SELECT variant, data FROM monitor_training WHERE monitor = ?1 ORDER BY set_at_ms, variant",
        &[monitor.into()],
    )?;
    let read = |mut row: trueline_db::Row| {
        let data = stored("a version's training data", &row.take::<String>(1)?)?;
        Ok(TrainedVersion { variant: row.take(0)?, data })
    };
    rows.into_iter().map(read).collect()
}

impl Monitor {
    /// What to compare with; none while that is learnt.
    pub(crate) fn against(&self) -> Option<Against<'_>> {
        match self.spec.reference {
            ReferenceSource::Training => Some(Against::Each(&self.training)),
            ReferenceSource::FirstWindow => self.reference.as_ref().map(Against::One),
        }
    }

    /// Whether it counts; else it learns first.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.against().is_some()
    }

    /// Whether the training data of this version is still to be looked up.
    #[must_use]
    pub fn asks_for_training(&self, variant: &str) -> bool {
        self.spec.reference == ReferenceSource::Training && self.training.iter().all(|t| t.variant != variant)
    }

    /// What windows are compared with, as it stands; with training data, that of the version that came last.
    #[must_use]
    pub fn reference_state(&self) -> ReferenceState {
        if self.spec.reference == ReferenceSource::FirstWindow {
            let known = |r: &Reference| ReferenceState::Known(r.source.clone());
            return self.reference.as_ref().map_or(ReferenceState::Learning, known);
        }
        match self.training.last() {
            None => ReferenceState::Unknown(format!(
                "no training data known yet: no version has answered on endpoint `{}`; each version's training data is \
                 looked up when its first prediction is counted",
                self.endpoint
            )),
            Some(TrainedVersion { variant, data: TrainingData::Known(reference) }) => {
                ReferenceState::Known(format!("{variant} was trained on {}", reference.source))
            }
            Some(TrainedVersion { variant, data: TrainingData::Unknown(reason) }) => {
                ReferenceState::Unknown(format!("no training data of {variant} is known: {reason}"))
            }
        }
    }
}

impl Monitoring {
    /// Keeps what was found of a version's training data; what was found before stays.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_training(
        &self,
        monitor: &Monitor,
        variant: &str,
        data: TrainingData,
    ) -> Result<(), MonitoringError> {
        let (id, variant) = (monitor.id.clone(), variant.to_owned());
        self.ledger
            .write(&Actor::system("monitoring"), move |tx| {
                let monitor = by_id(tx, &id)?;
                if !monitor.asks_for_training(&variant) {
                    return Ok(());
                }
                let data = match &data {
                    TrainingData::Known(reference) => {
                        TrainingData::Known(reference.clone().only(monitor.spec.features.as_deref()))
                    }
                    unknown => unknown.clone(),
                };
                let now = tx.now();
                tx.execute(
                    "INSERT INTO monitor_training (monitor, variant, data, set_at_ms) VALUES (?1, ?2, ?3, ?4)",
                    &[
                        (&id).into(),
                        (&variant).into(),
                        to_store("a version's training data", &data)?.into(),
                        now.into(),
                    ],
                )?;
                let found = match &data {
                    TrainingData::Known(reference) => json!({
                        "source": reference.source, "features": reference.columns.keys().collect::<Vec<_>>(),
                    }),
                    TrainingData::Unknown(reason) => json!({ "unknown": reason }),
                };
                let mut payload = json!({ "name": monitor.name, "version": variant });
                if let (Some(all), Some(found)) = (payload.as_object_mut(), found.as_object()) {
                    all.extend(found.clone());
                }
                let event = NewEvent::new(&monitor.project, "monitor.reference_set", "monitor", &id);
                tx.emit(event.with(payload))?;
                Ok(())
            })
            .await
    }
}
