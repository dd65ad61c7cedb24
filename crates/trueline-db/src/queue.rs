//! The bounded queue between async callers and the database's own threads.

use crate::DbError;
use crate::job::Work;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// The sending side; a full queue is an answer, never a wait (rule 12).
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: Sender<Work>,
}

impl Queue {
    pub(crate) fn new(length: usize) -> (Self, Receiver<Work>) {
        let (sender, receiver) = bounded(length);
        (Self { sender }, receiver)
    }

    pub(crate) fn push(&self, work: Work) -> Result<(), DbError> {
        self.sender.try_send(work).map_err(|e| match e {
            TrySendError::Full(_) => DbError::Busy { waiting: self.sender.len() },
            TrySendError::Disconnected(_) => DbError::Gone,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.sender.len()
    }
}
