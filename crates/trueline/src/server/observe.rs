//! What the server says of itself: structured logs and Prometheus metrics.

use clap::ValueEnum;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::collections::HashMap;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use trueline_ledger::ProjectId;
use trueline_predictions::PredictionLog;

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs go to standard error; `RUST_LOG` chooses what is logged. A panic over a damaged file is none worth a line.
pub(crate) fn start_logging(format: LogFormat) {
    trueline_query::keep_contained_panics_quiet();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0];

/// How often samples of histograms are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts what is counted, within a runtime: samples are gathered until they are folded, whether anybody reads them or not.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
        .install_recorder()?;
    metrics::describe_counter!("trueline_http_requests_total", "HTTP requests answered.");
    metrics::describe_histogram!("trueline_http_request_duration_seconds", "Time from request to answer.");
    metrics::describe_gauge!("trueline_database_queued_writes", "Jobs that wait for the database writer.");
    metrics::describe_counter!(
        "trueline_prediction_log_dropped_total",
        "Best-effort records that were lost since the server started."
    );
    metrics::describe_counter!(
        "trueline_prediction_log_failed_total",
        "Groups of appends that the disk refused since the server started."
    );
    metrics::describe_gauge!("trueline_prediction_log_records", "Durable records, in each stream.");
    metrics::describe_gauge!("trueline_prediction_log_bytes", "Bytes of them on the disk.");
    metrics::describe_gauge!("trueline_prediction_log_segments", "Files that they lie in.");
    metrics::describe_gauge!(
        "trueline_prediction_log_oldest_timestamp_seconds",
        "When the first of them came, in seconds since 1970."
    );
    metrics::describe_gauge!("trueline_prediction_log_waiting", "Appends that wait for the log's writer.");
    metrics::describe_gauge!("trueline_models_loaded", "Models in memory.");
    metrics::describe_gauge!("trueline_models_loaded_bytes", "What they take, Python workers included.");
    metrics::describe_gauge!("trueline_model_memory_limit_bytes", "What they may take, if there is a limit.");
    metrics::describe_counter!("trueline_model_loads_total", "Models that were loaded.");
    metrics::describe_counter!("trueline_model_load_failures_total", "Models that could not be loaded.");
    metrics::describe_counter!("trueline_model_unloads_total", "Models that were unloaded.");
    metrics::describe_histogram!(
        "trueline_model_load_wait_seconds",
        "Time that requests waited for a model that was not in memory."
    );
    metrics::describe_gauge!("trueline_build_info", "The running version, always 1.");
    metrics::gauge!("trueline_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let folded = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            let folded = folded.clone();
            // Away from the threads that answer requests: there may be hundreds of thousands of samples.
            drop(tokio::task::spawn_blocking(move || folded.run_upkeep()).await);
        }
    });
    Ok(handle)
}

/// Tells what the log of predictions holds and has lost, stream by stream. The streams count by themselves, so this is done
/// when somebody asks. The labels of a project have no endpoint.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn tell_log(log: &PredictionLog, projects: &HashMap<ProjectId, String>) {
    for stats in log.stats() {
        // A project none of whose endpoints is to answer is told by its id.
        let id = ProjectId::new(stats.stream.project());
        let project = projects.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let endpoint = stats.stream.endpoint().unwrap_or_default().to_owned();
        let labels = [("project", project), ("endpoint", endpoint)];
        metrics::gauge!("trueline_prediction_log_records", &labels).set(stats.records as f64);
        metrics::gauge!("trueline_prediction_log_bytes", &labels).set(stats.bytes as f64);
        metrics::gauge!("trueline_prediction_log_segments", &labels).set(stats.segments as f64);
        // Nothing is the oldest of nothing.
        let oldest = stats.oldest_ms.map_or(f64::NAN, |ms| ms as f64 / 1e3);
        metrics::gauge!("trueline_prediction_log_oldest_timestamp_seconds", &labels).set(oldest);
        metrics::counter!("trueline_prediction_log_dropped_total", &labels).absolute(stats.dropped);
        metrics::counter!("trueline_prediction_log_failed_total", &labels).absolute(stats.failed);
    }
    metrics::gauge!("trueline_prediction_log_waiting").set(log.waiting().appends as f64);
}
