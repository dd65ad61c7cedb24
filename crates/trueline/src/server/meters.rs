//! What is counted of each answer: by method, route and status, and how long it took by route. A meter is looked up by
//! these words once and kept, since looking one up in the recorder makes texts of them each time.

use metrics::{Counter, Histogram};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// The meters of one server.
#[derive(Default)]
pub(crate) struct Meters {
    routes: RwLock<HashMap<String, Route>>,
}

/// Those of one route.
struct Route {
    took: Histogram,
    answered: Vec<(&'static str, u16, Counter)>,
}

impl Meters {
    /// Counts an answer. Routes and methods are the server's own words, so there are only so many.
    pub(crate) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        if !self.count_known(method, route, status, took) {
            self.make(method, route, status);
            self.count_known(method, route, status, took);
        }
    }

    fn count_known(&self, method: &'static str, route: &str, status: u16, took: Duration) -> bool {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = routes.get(route) else { return false };
        let Some((.., counter)) = known.answered.iter().find(|(m, s, _)| *m == method && *s == status) else {
            return false;
        };
        counter.increment(1);
        known.took.record(took.as_secs_f64());
        true
    }

    fn make(&self, method: &'static str, route: &str, status: u16) {
        let told = route.to_owned();
        let counter = metrics::counter!(
            "trueline_http_requests_total", "method" => method, "route" => told.clone(), "status" => status.to_string()
        );
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let known = routes.entry(told.clone()).or_insert_with(|| Route {
            took: metrics::histogram!("trueline_http_request_duration_seconds", "route" => told),
            answered: Vec::new(),
        });
        if !known.answered.iter().any(|(m, s, _)| *m == method && *s == status) {
            known.answered.push((method, status, counter));
        }
    }
}
