//! The threads that all share: where what takes long or may block is done, for those who must not be held up by it.

use std::panic::resume_unwind;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinSet};

/// What a caller is told whose answer nobody makes any more.
pub const STOPPING: &str = "the server is stopping; ask again when it is back";

/// The threads that all share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CommonThreads(Handle);

impl CommonThreads {
    /// Those on which this is called.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn these() -> Self {
        Self(Handle::current())
    }

    /// Whether what calls this must not take long: whether it is on a thread of its own, and not on one of these.
    #[must_use]
    pub fn are_elsewhere() -> bool {
        Handle::try_current().is_ok_and(|own| own.runtime_flavor() == RuntimeFlavor::CurrentThread)
    }

    /// Has this done there, or here if this is there, and waits for it. It ends with the future that waits; none when the server is
    /// stopping. What panics there panics here.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        if !Self::are_elsewhere() {
            return Some(work.await);
        }
        // A set ends what it holds when it is dropped.
        let mut only = JoinSet::new();
        only.spawn_on(work, &self.0);
        done(only.join_next().await?)
    }

    /// Has this done there to its end, whether anybody still waits for it or not; none when the server is stopping. What panics
    /// there panics here.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        done(self.0.spawn(work).await)
    }

    /// Does here what takes long. On the common threads others take over what waits; on a thread of its own nobody can, and
    /// nothing long should come there.
    pub fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
        if Self::are_elsewhere() { work() } else { tokio::task::block_in_place(work) }
    }
}

/// What a task came to; none if it was stopped.
fn done<T>(task: Result<T, JoinError>) -> Option<T> {
    match task {
        Ok(done) => Some(done),
        Err(stopped) if stopped.is_panic() => resume_unwind(stopped.into_panic()),
        Err(_) => None,
    }
}
