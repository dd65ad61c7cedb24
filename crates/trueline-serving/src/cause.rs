//! Why a request was not answered, in the few words that figures of an endpoint are told by.

use crate::error::ServingError;

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It could not be read, or what it says beside its input is refused. It reached no version.
    Unreadable,
    /// Its input does not fit the model.
    Input,
    /// Features that the model reads were not to be had.
    Features,
    /// More requests than the model takes at a time.
    Busy,
    /// The model took longer than it may, or than the caller waits.
    TimedOut,
    /// The model failed.
    Failed,
    /// The model answered what was declared to be no answer.
    Implausible,
    /// The process that runs the model ended over it.
    WorkerDied,
    /// It could not be logged, and its endpoint requires that.
    NotLogged,
    /// The version, or every one of the endpoint, could not be loaded.
    NotLoaded,
    /// Anything else.
    Other,
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = 11;

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Unreadable,
        Self::Input,
        Self::Features,
        Self::Busy,
        Self::TimedOut,
        Self::Failed,
        Self::Implausible,
        Self::WorkerDied,
        Self::NotLogged,
        Self::NotLoaded,
        Self::Other,
    ];

    /// Whether requests may fail by it that were asked of a version.
    #[must_use]
    pub const fn reaches_a_version(self) -> bool {
        !matches!(self, Self::Unreadable)
    }

    /// Whether requests may fail by it that no version was found for.
    #[must_use]
    pub const fn reaches_none(self) -> bool {
        matches!(self, Self::Unreadable | Self::NotLoaded)
    }

    /// Its name: `timed_out`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Input => "input",
            Self::Features => "features",
            Self::Busy => "busy",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::Implausible => "implausible",
            Self::WorkerDied => "worker_died",
            Self::NotLogged => "not_logged",
            Self::NotLoaded => "not_loaded",
            Self::Other => "other",
        }
    }
}

impl From<&ServingError> for Cause {
    fn from(error: &ServingError) -> Self {
        match error {
            ServingError::Input(_) => Self::Input,
            ServingError::Features(_) => Self::Features,
            ServingError::Busy(_) => Self::Busy,
            ServingError::TimedOut(_) => Self::TimedOut,
            ServingError::Failed { .. } => Self::Failed,
            ServingError::Implausible { .. } => Self::Implausible,
            ServingError::NotLoaded(_) => Self::NotLoaded,
            ServingError::WorkerDied(_) => Self::WorkerDied,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_number_and_name() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
            assert_eq!(Cause::ALL.iter().filter(|c| c.as_str() == cause.as_str()).count(), 1);
        }
    }
}
