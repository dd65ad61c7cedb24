//! A bucket as a server is told it: a URI and the variables of the environment that MLflow and Amazon's own tools read.
//! What can't be honoured is refused with its name, so that nobody relies on a setting that does nothing.

use crate::bucket::Bucket;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// For how long the other side may say nothing: putting many parts together takes S3 a while.
const SILENCE: Duration = Duration::from_secs(300);
/// Requests that failed are tried again so many times, within [`TRYING`].
const RETRIES: usize = 4;
const TRYING: Duration = Duration::from_secs(60);
/// How long a signed address for reading is good, unless told otherwise, as in MLflow.
const READABLE: Duration = Duration::from_secs(300);
/// The longest that S3 lets a signed address live.
const LONGEST_SIGNED: u64 = 604_800;

/// Where credentials come from besides the keys themselves: a service account's token, or the container's own.
const CREDENTIALS: [&str; 6] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Variables that MLflow's server heeds and this one can't, with what to do instead.
const REFUSED: [(&str, &str); 3] = [
    ("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "set the bucket's own default for encryption and storage class instead"),
    ("MLFLOW_S3_EXPECTED_BUCKET_OWNER", "let a policy of the bucket or of the key name the account instead"),
    (
        "AWS_PROFILE",
        "files of profiles are not read; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
    ),
];

/// Chooses how requests are signed.
const SIGNATURE: &str = "MLFLOW_EXPERIMENTAL_S3_SIGNATURE_VERSION";

/// A bucket that can't be used as it is named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// The URI is none of a bucket.
    #[error("`{0}` names no bucket: write s3://bucket or s3://bucket/folder")]
    Uri(String),
    /// The URI names neither a folder nor a bucket.
    #[error(
        "`{0}` is no place for objects: write s3://bucket/folder, file:///folder or the path of a folder"
    )]
    Place(String),
    /// A variable of the environment that this server does not honour is set.
    #[error("the variable {name} is set, which this server can't honour for a bucket: {instead}")]
    Refused {
        /// The variable.
        name: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// A variable of the environment can't be understood.
    #[error("the variable {name} is `{value}`, which is no {expected}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The file of certificates can't be read.
    #[error("the certificates in AWS_CA_BUNDLE `{path}` can't be read: {error}")]
    Certificates {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
    /// The settings contradict each other.
    #[error("the bucket `{uri}` can't be used as it is set up: {error}")]
    Settings {
        /// The bucket.
        uri: String,
        /// Why.
        error: String,
    },
}

/// Whether a location is a bucket's.
#[must_use]
pub fn is_bucket(location: &str) -> bool {
    location.starts_with("s3:") || location.starts_with("s3a:")
}

/// Bucket and folder of a URI.
fn parts(uri: &str) -> Option<(&str, String)> {
    let rest = uri.strip_prefix("s3://").or_else(|| uri.strip_prefix("s3a://"))?;
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    let named =
        !bucket.is_empty() && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    let folder: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let fine = named && folder.iter().all(|part| *part != "." && *part != "..") && !uri.contains(['?', '#']);
    fine.then(|| (bucket, folder.join("/")))
}

/// The variables of an environment, as a bucket reads them.
struct Variables<'v, F: Fn(&str) -> Option<String>>(&'v F);

impl<F: Fn(&str) -> Option<String>> Variables<'_, F> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    fn on(&self, name: &'static str) -> Result<bool, BucketError> {
        let Some(value) = self.text(name) else { return Ok(false) };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(BucketError::Variable { name, value, expected: "truth value: true, false, 1 or 0" }),
        }
    }

    fn seconds(&self, name: &'static str, usual: Duration) -> Result<Duration, BucketError> {
        let Some(value) = self.text(name) else { return Ok(usual) };
        match value.parse() {
            Ok(seconds) if (1..=LONGEST_SIGNED).contains(&seconds) => Ok(Duration::from_secs(seconds)),
            _ => Err(BucketError::Variable { name, value, expected: "number of seconds from 1 to 604800" }),
        }
    }
}

/// Whether the bucket's name goes into the host's: as Amazon has it, unless the name has dots, which no certificate
/// covers; elsewhere only when it is asked for.
fn in_host(style: Option<&str>, own_endpoint: bool, bucket: &str) -> Result<bool, BucketError> {
    match style {
        None | Some("auto") => Ok(!own_endpoint && !bucket.contains('.') && !bucket.contains('_')),
        Some("path") => Ok(false),
        Some("virtual") => Ok(true),
        Some(other) => Err(BucketError::Variable {
            name: "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE",
            value: other.to_owned(),
            expected: "style of addresses: auto, path or virtual",
        }),
    }
}

fn client(insecure: bool, bundle: Option<String>) -> Result<ClientOptions, BucketError> {
    let mut client = ClientOptions::new()
        .with_allow_http(true)
        .with_allow_invalid_certificates(insecure)
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE);
    if let Some(path) = bundle {
        let failed = |error: String| BucketError::Certificates { path: path.clone(), error };
        let pem = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(|e| failed(e.to_string()))? {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

/// Which library encrypts is settled once for the process; whoever came first has chosen the same.
fn settle_encryption() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

impl Bucket {
    /// The bucket and folder that a URI `s3://bucket/folder` names, reached by what the variables say. Nothing is asked of
    /// it yet: it may be away while a server starts.
    ///
    /// # Errors
    /// [`BucketError`] when the URI or a variable can't be used.
    pub fn open(uri: &str, variables: impl Fn(&str) -> Option<String>) -> Result<Self, BucketError> {
        let variables = Variables(&variables);
        let (bucket, folder) = parts(uri).ok_or_else(|| BucketError::Uri(uri.to_owned()))?;
        for (name, instead) in REFUSED {
            if variables.text(name).is_some() {
                return Err(BucketError::Refused { name, instead });
            }
        }
        let signature = variables.text(SIGNATURE).filter(|value| !value.eq_ignore_ascii_case("s3v4"));
        if let Some(value) = signature {
            return Err(BucketError::Variable {
                name: SIGNATURE,
                value,
                expected: "signature made here: s3v4",
            });
        }
        let endpoint =
            variables.first(&["MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        let style = variables.text("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE");
        let in_host = in_host(style.as_deref(), endpoint.is_some(), bucket)?;
        let client = client(variables.on("MLFLOW_S3_IGNORE_TLS")?, variables.text("AWS_CA_BUNDLE"))?;
        let readable = variables.seconds("MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS", READABLE)?;

        let region = variables.first(&["AWS_DEFAULT_REGION", "AWS_REGION"]);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region.as_deref().unwrap_or("us-east-1"))
            .with_virtual_hosted_style_request(in_host)
            .with_client_options(client)
            .with_retry(RetryConfig {
                backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..Default::default() },
                max_retries: RETRIES,
                retry_timeout: TRYING,
            })
            // Encryption on the way protects what is sent, as Amazon's own tools have it; without it, a signature must.
            .with_unsigned_payload(!endpoint.as_deref().is_some_and(|url| url.starts_with("http:")));
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(if in_host { hosted(&endpoint, bucket) } else { endpoint });
        }
        let keys = [
            ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
            ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
            ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
        ];
        for (name, key) in keys {
            if let Some(value) = variables.text(name) {
                builder = builder.with_config(key, value);
            }
        }
        for name in CREDENTIALS {
            let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
            if let (Some(value), Ok(key)) = (variables.text(name), key) {
                builder = builder.with_config(key, value);
            }
        }
        settle_encryption();
        let failed = |e: object_store::Error| BucketError::Settings { uri: uri.into(), error: e.to_string() };
        let s3 = builder.build().map_err(failed)?;
        Ok(Self::new(Arc::new(s3), bucket, &folder, readable))
    }
}

/// An address with the bucket's name in front of the host's.
fn hosted(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
        None => format!("https://{bucket}.{endpoint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(uri: &str, set: &[(&str, &str)]) -> Result<Bucket, String> {
        let find = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Bucket::open(uri, find).map_err(|e| e.to_string())
    }

    #[test]
    fn a_uri_names_a_bucket_and_a_folder() {
        assert_eq!(parts("s3://b"), Some(("b", String::new())));
        assert_eq!(parts("s3://my-b.x/a//b/"), Some(("my-b.x", "a/b".to_owned())));
        for bad in ["s3:/b", "s3://", "s3:///x", "s3://b/../x", "s3://b?x=1", "gs://b", "/b"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
        assert!(open("s3://", &[]).unwrap_err().contains("write s3://bucket"));
    }

    #[test]
    fn what_can_not_be_honoured_is_refused_by_name() {
        for (name, _) in REFUSED {
            let told = open("s3://b", &[(name, "x")]).unwrap_err();
            assert!(told.contains(name), "{told}");
        }
        for (name, value) in [
            ("MLFLOW_S3_IGNORE_TLS", "maybe"),
            ("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "sideways"),
            ("MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS", "0"),
            ("MLFLOW_EXPERIMENTAL_S3_SIGNATURE_VERSION", "unsigned"),
        ] {
            let told = open("s3://b", &[(name, value)]).unwrap_err();
            assert!(told.contains(name) && told.contains(value), "{told}");
        }
        assert!(open("s3://b", &[("AWS_CA_BUNDLE", "/no/such")]).unwrap_err().contains("/no/such"));
        let half = open("s3://b", &[("AWS_ACCESS_KEY_ID", "k")]).unwrap_err();
        assert!(half.contains("s3://b"), "{half}");
        assert!(open("s3://b", &[("MLFLOW_S3_IGNORE_TLS", "")]).is_ok());
    }

    #[test]
    fn the_bucket_stands_in_the_path_of_an_endpoint_and_in_amazons_host() {
        assert!(in_host(None, false, "b").unwrap());
        assert!(!in_host(None, false, "b.example").unwrap());
        assert!(!in_host(Some("auto"), true, "b").unwrap());
        assert!(in_host(Some("virtual"), true, "b").unwrap());
        assert!(!in_host(Some("path"), false, "b").unwrap());
        assert_eq!(hosted("http://s3.local:9000", "b"), "http://b.s3.local:9000");
    }
}
