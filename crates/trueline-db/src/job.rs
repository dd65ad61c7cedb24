//! A closure on its way to a database thread and its answer on the way back. The types of the answer are
//! erased here, so that a group can hold jobs of every kind.

use crate::{DbError, Tx};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// A job in a queue.
pub(crate) struct Work {
    job: Box<dyn Job>,
    /// It is one statement, which needs no transaction around it.
    pub(crate) is_statement: bool,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

/// What running a job once came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Commit it.
    Done,
    /// Its own rule refused; roll it back and answer.
    Refused,
    /// A statement failed; roll it back, and run it again if that may help.
    Failed(DbError),
}

trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: DbError);
    fn abandoned(&self) -> bool;
}

struct Typed<F, T, E> {
    run: F,
    result: Option<Result<T, E>>,
    to: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for Typed<F, T, E>
where
    F: Fn(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<DbError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Outcome {
        let result = catch_unwind(AssertUnwindSafe(|| (self.run)(tx)));
        if let Ok(Ok(_)) = result {
            // What it says is noted, as of any other statement.
            drop(tx.flush());
        }
        let (result, outcome) = match (result, tx.take_failure()) {
            (Err(panic), _) => {
                let error = DbError::Panicked(panic_text(panic.as_ref()));
                (Err(error.clone().into()), Outcome::Failed(error))
            }
            (Ok(Ok(_)), Some(failure)) => (Err(failure.clone().into()), Outcome::Failed(failure)),
            (Ok(Err(e)), Some(failure)) => (Err(e), Outcome::Failed(failure)),
            (Ok(Ok(v)), None) => (Ok(v), Outcome::Done),
            (Ok(Err(e)), None) => (Err(e), Outcome::Refused),
        };
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>) {
        let result = self.result.unwrap_or_else(|| Err(DbError::Gone.into()));
        // The caller may have gone; what is committed stays committed.
        drop(self.to.send(result));
    }

    fn fail(self: Box<Self>, error: DbError) {
        drop(self.to.send(Err(error.into())));
    }

    fn abandoned(&self) -> bool {
        self.to.is_closed()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

impl Work {
    pub(crate) fn new<F, T, E>(run: F) -> (Self, oneshot::Receiver<Result<T, E>>)
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (to, answer) = oneshot::channel();
        (Self { job: Box::new(Typed { run, result: None, to }), is_statement: false }, answer)
    }

    pub(crate) fn run(&mut self, tx: &mut Tx<'_>) -> Outcome {
        self.job.run(tx)
    }

    /// Sends what the last run came to.
    pub(crate) fn answer(self) {
        self.job.answer();
    }

    pub(crate) fn fail(self, error: DbError) {
        self.job.fail(error);
    }

    /// Whether nobody waits for the answer any more, so that a job which has not begun need not.
    pub(crate) fn abandoned(&self) -> bool {
        self.job.abandoned()
    }
}
