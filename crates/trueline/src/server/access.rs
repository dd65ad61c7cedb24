//! Who may come in, and how: with `--app-name basic-auth` users have passwords and permissions on single resources, set up by
//! the same file and variables as MLflow's.

use super::ServerConfig;
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::path::Path;
use trueline_flows::{Access, PermissionRules};
use trueline_identity::{Authenticator, Identity, Permission, Policy, hash_password};

const CONFIG_PATH: &str = "MLFLOW_AUTH_CONFIG_PATH";
const ADMIN_NAME: &str = "MLFLOW_AUTH_ADMIN_USERNAME";
const ADMIN_PASSWORD: &str = "MLFLOW_AUTH_ADMIN_PASSWORD";
/// What `authorization_function` says when it is not changed.
const BASIC: &str = "mlflow.server.auth:authenticate_request_basic_auth";

/// What `basic_auth.ini` says.
#[derive(Debug, PartialEq, Eq)]
struct AuthConfig {
    default_permission: Permission,
    admin_name: Option<String>,
    admin_password: Option<String>,
    default_workspace_open: bool,
}

impl AuthConfig {
    /// Of the settings in a file and the variables that go before them.
    fn of(
        settings: &HashMap<String, String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let told = |name: &str| settings.get(name).cloned().filter(|v| !v.is_empty());
        if let Some(function) = told("authorization_function").filter(|f| f != BASIC) {
            bail!(
                "authorization_function is `{function}`, but this server runs no Python: leave it out, or put a proxy that \
                 authenticates in front"
            );
        }
        // A variable that is there goes before the file even when it is empty, as in MLflow.
        let either = |variable_name: &str, name: &str| match variable(variable_name) {
            Some(value) => Some(value).filter(|v| !v.is_empty()),
            None => told(name),
        };
        let default_permission = told("default_permission").unwrap_or_else(|| "READ".to_owned());
        let open = told("grant_default_workspace_access").unwrap_or_default().to_lowercase();
        Ok(Self {
            default_permission: Permission::parse(&default_permission).context("default_permission")?,
            admin_name: either(ADMIN_NAME, "admin_username"),
            admin_password: either(ADMIN_PASSWORD, "admin_password"),
            default_workspace_open: ["1", "true", "yes", "on"].contains(&open.as_str()),
        })
    }

    fn read() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let settings = match variable(CONFIG_PATH).filter(|p| !p.is_empty()) {
            Some(path) => {
                let text = std::fs::read_to_string(Path::new(&path))
                    .with_context(|| format!("{CONFIG_PATH} is `{path}`, which can't be read"))?;
                settings(&text)
            }
            None => HashMap::new(),
        };
        Self::of(&settings, variable)
    }
}

/// The settings of an ini file's section `[mlflow]`.
fn settings(text: &str) -> HashMap<String, String> {
    let mut inside = false;
    let mut out = HashMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = section.trim() == "mlflow";
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once(['=', ':'])
        {
            out.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    out
}

/// The door of this server.
pub(super) async fn open(
    config: &ServerConfig,
    identity: &Identity,
    policy: Policy,
) -> anyhow::Result<Access> {
    let authenticator = Authenticator::new(identity.clone(), config.host.is_loopback());
    if !config.basic_auth {
        return Ok(Access::new(identity.clone(), authenticator, policy));
    }
    let auth = AuthConfig::read()?;
    make_admin(identity, &auth).await?;
    let rules = PermissionRules {
        default: auth.default_permission,
        workspaces: config.workspaces,
        default_workspace_open: auth.default_workspace_open,
    };
    Ok(Access::new(identity.clone(), authenticator.with_passwords(), policy).with_permissions(rules))
}

/// Makes the admin that the settings name, unless there is one; without any, nobody could make users.
async fn make_admin(identity: &Identity, auth: &AuthConfig) -> anyhow::Result<()> {
    match (&auth.admin_name, &auth.admin_password) {
        (Some(name), Some(password)) => {
            let (password, salt) = (password.clone(), identity.salt());
            let hashed = tokio::task::spawn_blocking(move || hash_password(&password, salt)).await??;
            if identity.ensure_admin(name, hashed).await? {
                tracing::info!(user = name, "made the admin that the settings name");
            }
            Ok(())
        }
        _ if identity.has_admin_with_password().await? => Ok(()),
        _ => bail!(
            "there is no admin with a password yet: give the first one by {ADMIN_NAME} and {ADMIN_PASSWORD}, or by \
             admin_username and admin_password in the file that {CONFIG_PATH} names"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# as MLflow ships it\n[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\n\
                        admin_password = pass=word#1\n; a note\ngrant_default_workspace_access = True\n[other]\n\
                        admin_username = nobody\n";

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn settings_are_those_of_the_section_mlflow() {
        let read = AuthConfig::of(&settings(FILE), none).unwrap();
        assert_eq!(read.default_permission, Permission::NoPermissions);
        assert_eq!(read.admin_name.as_deref(), Some("admin"));
        assert_eq!(read.admin_password.as_deref(), Some("pass=word#1"));
        assert!(read.default_workspace_open);
    }

    #[test]
    fn a_variable_goes_before_the_file_even_when_it_is_empty() {
        let variable = |name: &str| (name == ADMIN_PASSWORD).then(String::new);
        assert_eq!(AuthConfig::of(&settings(FILE), variable).unwrap().admin_password, None);
        let variable = |name: &str| (name == ADMIN_NAME).then(|| "root".to_owned());
        assert_eq!(AuthConfig::of(&settings(FILE), variable).unwrap().admin_name.as_deref(), Some("root"));
    }

    #[test]
    fn what_this_server_can_not_do_is_refused_at_the_start() {
        let jwt = settings("[mlflow]\nauthorization_function = jwt_auth:authenticate_request\n");
        assert!(AuthConfig::of(&jwt, none).unwrap_err().to_string().contains("runs no Python"));
        let wrong = settings("[mlflow]\ndefault_permission = SOME\n");
        assert!(AuthConfig::of(&wrong, none).is_err());
    }

    #[test]
    fn nothing_set_is_read_for_all_and_no_admin() {
        let read = AuthConfig::of(&HashMap::new(), none).unwrap();
        let expected = AuthConfig {
            default_permission: Permission::Read,
            admin_name: None,
            admin_password: None,
            default_workspace_open: false,
        };
        assert_eq!(read, expected);
    }
}
