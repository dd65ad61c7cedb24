//! Ends runs whose deadline has come: one thread for the process, which sleeps until the earliest of them.

use ort::session::RunOptions;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

#[derive(Default)]
struct State {
    /// Runs that are under way, by their deadlines; the number tells equal ones apart.
    runs: BTreeMap<(Instant, u64), Arc<RunOptions>>,
    number: u64,
    /// When the thread wakes by itself; never, when there is nothing to wait for.
    wakes: Option<Instant>,
}

#[derive(Default)]
struct Watch {
    state: Mutex<State>,
    earlier: Condvar,
}

static WATCH: OnceLock<Option<&'static Watch>> = OnceLock::new();

/// A run that is watched until this is dropped.
pub(crate) struct Watched {
    watch: &'static Watch,
    key: (Instant, u64),
}

/// Has a run ended at `deadline`: the library looks at the sign between two nodes of the graph. The error says that there
/// is no thread to be had.
pub(crate) fn watch(run: &Arc<RunOptions>, deadline: Instant) -> Result<Watched, String> {
    let watch =
        WATCH.get_or_init(start).ok_or_else(|| "no thread can be started to watch deadlines".to_owned())?;
    let mut state = watch.state();
    state.number += 1;
    let key = (deadline, state.number);
    state.runs.insert(key, Arc::clone(run));
    if state.wakes.is_none_or(|wakes| deadline < wakes) {
        watch.earlier.notify_one();
    }
    Ok(Watched { watch, key })
}

fn start() -> Option<&'static Watch> {
    let watch: &'static Watch = Box::leak(Box::default());
    let thread = std::thread::Builder::new().name("onnx-deadlines".to_owned());
    thread.spawn(|| watch.over()).is_ok().then_some(watch)
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            while let Some(first) = state.runs.first_entry().filter(|first| first.key().0 <= now) {
                // One that can't be told to end does so by itself, later.
                let _ = first.remove().terminate();
            }
            state.wakes = state.runs.first_key_value().map(|((deadline, _), _)| *deadline);
            state = match state.wakes {
                Some(at) => {
                    self.earlier.wait_timeout(state, at - now).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.earlier.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.state().runs.remove(&self.key);
    }
}
