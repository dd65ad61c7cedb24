//! `trueline serve`: one model and nothing else, for a container. What the platforms say in the environment counts where the
//! command line says nothing.

use super::Connection;
use super::fetch_model::{Fetched, fetch};
use super::runtimes::RuntimeArgs;
use super::server::{host, positive};
use crate::server::{Alone, Limits, LogFormat, OriginArgs, OriginRules, start_logging};
use anyhow::{Context, bail};
use clap::Args;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trueline_inference::VertexRoutes;

/// Where SageMaker puts a model.
const SAGEMAKER: &str = "/opt/ml/model";
/// Where SageMaker puts models that it has loaded by name.
const SAGEMAKER_MODELS: &str = "/opt/ml/models";
/// The port that the platforms ask at where they do not say which.
const USUAL_PORT: u16 = 8080;
const AZURE_PORT: u16 = 5001;

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// The model: a folder that MLflow saved, one of a bucket as `s3://bucket/folder`, `models:/name/version`,
    /// `models:/name@alias` or `runs:/run/path` of a server; without it the folder that SageMaker, Vertex AI or Azure ML say
    model: Option<String>,
    /// Have models loaded, asked and unloaded by name, from below this folder alone, as SageMaker's multi-model endpoints do;
    /// where SAGEMAKER_MULTI_MODEL is true, from below /opt/ml/models
    #[arg(long, env = "TRUELINE_MULTI_MODEL", value_name = "FOLDER")]
    multi_model: Option<PathBuf>,
    /// Address to listen on; all addresses where a platform runs the container, else loopback
    #[arg(long, env = "TRUELINE_HOST", value_parser = host)]
    host: Option<IpAddr>,
    /// Port to listen on, 0 for any that is free; where a platform runs the container its own, else 8080
    #[arg(long, env = "TRUELINE_PORT")]
    port: Option<u16>,
    /// The name of the model in the Open Inference Protocol
    #[arg(long, env = "TRUELINE_MODEL_NAME", default_value = "model")]
    name: String,
    /// Requests that are worked on at a time; one more is answered 503
    #[arg(long, env = "TRUELINE_MAX_REQUESTS", default_value_t = 512, value_parser = positive)]
    max_requests: u32,
    /// Seconds that a request may take
    #[arg(long, env = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", default_value_t = 60, value_parser = positive)]
    request_timeout: u32,
    /// Seconds within which the head of a request must come; a connection that brings half of one is closed then
    #[arg(long, env = "TRUELINE_HEAD_TIMEOUT", default_value_t = 30, value_parser = positive)]
    head_timeout: u32,
    #[command(flatten)]
    runtimes: RuntimeArgs,
    /// Where environments of Python workers are kept
    #[arg(long, env = "TRUELINE_CACHE_DIR", value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    origins: OriginArgs,
    /// How log lines are written
    #[arg(long, env = "TRUELINE_LOG", value_enum, default_value = "text")]
    log: LogFormat,
    #[command(flatten)]
    connection: Connection,
}

/// What the environment says of the platform that runs the container.
#[derive(Debug, Default, PartialEq, Eq)]
struct Platform {
    model: Option<String>,
    port: Option<u16>,
    vertex: Option<VertexRoutes>,
    azure: bool,
    is_one: bool,
    /// Below which it loads models.
    models: Option<PathBuf>,
}

impl Platform {
    fn of(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let number = |name: &str| -> anyhow::Result<Option<u16>> {
            let told = variable(name);
            told.map(|p| p.parse().with_context(|| format!("{name}={p} is no port"))).transpose()
        };
        if let Some(folder) = variable("AZUREML_MODEL_DIR") {
            return Ok(Self {
                model: Some(folder),
                port: Some(AZURE_PORT),
                azure: true,
                is_one: true,
                ..Self::default()
            });
        }
        if let (Some(health), Some(predict)) = (variable("AIP_HEALTH_ROUTE"), variable("AIP_PREDICT_ROUTE")) {
            let vertex = VertexRoutes::new(health, predict).map_err(anyhow::Error::msg)?;
            return Ok(Self {
                model: variable("AIP_STORAGE_URI").filter(|uri| !uri.is_empty()),
                port: number("AIP_HTTP_PORT")?,
                vertex: Some(vertex),
                is_one: true,
                ..Self::default()
            });
        }
        let port = number("SAGEMAKER_BIND_TO_PORT")?;
        if variable("SAGEMAKER_MULTI_MODEL").is_some_and(|told| told.eq_ignore_ascii_case("true")) {
            let models = Some(SAGEMAKER_MODELS.into());
            return Ok(Self { port, is_one: true, models, ..Self::default() });
        }
        let is_one = port.is_some() || PathBuf::from(SAGEMAKER).join("MLmodel").is_file();
        Ok(Self { model: is_one.then(|| SAGEMAKER.to_owned()), port, is_one, ..Self::default() })
    }
}

pub(crate) fn run(args: ServeArgs, began: Instant) -> anyhow::Result<()> {
    start_logging(args.log);
    let platform = Platform::of(|name| std::env::var(name).ok())?;
    let usual = platform.model.filter(|_| args.multi_model.is_none());
    let (uri, models) = (args.model.or(usual), args.multi_model.or(platform.models));
    if uri.is_none() && models.is_none() {
        bail!(
            "name a model: a folder that MLflow saved, `s3://bucket/folder`, `models:/name/version`, `models:/name@alias` or \
             `runs:/run/path`"
        );
    }
    let fetched = uri.map(|uri| fetch(&uri, &args.connection)).transpose()?;
    let (folder, kept) = fetched.map(|Fetched { folder, kept }| (folder, kept)).unzip();
    let host = args.host.unwrap_or(match platform.is_one {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::LOCALHOST.into(),
    });
    let port = args.port.or(platform.port).unwrap_or(USUAL_PORT);
    let alone = Alone {
        folder,
        models,
        name: args.name,
        address: (host, port).into(),
        memory: args.runtimes.memory(),
        runtimes: args.runtimes.runtimes(&args.cache_dir.unwrap_or_else(usual_cache)),
        origins: OriginRules::new(args.origins, host.is_loopback()),
        limits: Limits {
            requests: usize::try_from(args.max_requests)?,
            timeout: Duration::from_secs(args.request_timeout.into()),
            head: Duration::from_secs(args.head_timeout.into()),
        },
        vertex: platform.vertex,
        azure: platform.azure,
        began,
    };
    let served = crate::server::serve_alone(alone);
    drop(kept);
    served
}

/// The user's own cache, or the folder for what may go.
fn usual_cache() -> PathBuf {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    own.or_else(home).unwrap_or_else(std::env::temp_dir).join("trueline")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn platform(told: &[(&str, &str)]) -> anyhow::Result<Platform> {
        let told: HashMap<&str, &str> = told.iter().copied().collect();
        Platform::of(|name| told.get(name).map(|v| (*v).to_owned()))
    }

    #[test]
    fn a_platform_says_where_the_model_is_and_where_it_asks() {
        let azure = platform(&[("AZUREML_MODEL_DIR", "/m")]).unwrap();
        assert_eq!((azure.model.as_deref(), azure.port, azure.azure), (Some("/m"), Some(5001), true));
        let vertex = platform(&[
            ("AIP_HTTP_PORT", "8123"),
            ("AIP_HEALTH_ROUTE", "/h"),
            ("AIP_PREDICT_ROUTE", "/p"),
            ("AIP_STORAGE_URI", ""),
        ])
        .unwrap();
        assert_eq!((vertex.model, vertex.port, vertex.is_one), (None, Some(8123), true));
        assert_eq!(vertex.vertex.unwrap().predict, "/p");
        let sagemaker = platform(&[("SAGEMAKER_BIND_TO_PORT", "9000")]).unwrap();
        assert_eq!((sagemaker.model.as_deref(), sagemaker.port), (Some(SAGEMAKER), Some(9000)));
        let several =
            platform(&[("SAGEMAKER_BIND_TO_PORT", "9000"), ("SAGEMAKER_MULTI_MODEL", "true")]).unwrap();
        assert_eq!((several.model, several.models.as_deref()), (None, Some(SAGEMAKER_MODELS.as_ref())));
        assert!(platform(&[("SAGEMAKER_BIND_TO_PORT", "many")]).is_err());
        assert!(platform(&[("AIP_HEALTH_ROUTE", "h"), ("AIP_PREDICT_ROUTE", "/p")]).is_err());
    }
}
