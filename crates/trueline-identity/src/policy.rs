//! The policy: Cedar rules, checked against their schema at start, that turn a caller and an action into an
//! [`Authorized`] or a refusal that names the roles which would do.

use crate::{Action, Authorized, Caller, IdentityError, Permission, Role};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::{Arc, RwLock};
use trueline_ledger::ProjectId;

const RULES: &str = include_str!("policy.cedar");
const SCHEMA: &str = include_str!("policy.cedarschema");

/// Answers remembered; roles are part of the key, so a change of roles is seen at once.
const REMEMBERED: usize = 4096;

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Policy {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rules: PolicySet,
    schema: Schema,
    digest: String,
    answers: RwLock<HashMap<Question, Option<String>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    roles: Vec<Role>,
    has_token: bool,
    permission: Option<Permission>,
    action: &'static str,
}

fn failed(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Policy(error.to_string())
}

impl Policy {
    /// The rules that come with the binary.
    ///
    /// # Errors
    /// [`IdentityError::Policy`] when they don't fit their schema.
    pub fn built_in() -> Result<Self, IdentityError> {
        let rules = PolicySet::from_str(RULES).map_err(failed)?;
        let rules = named(&rules)?;
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(failed)?;
        let checked = Validator::new(schema.clone()).validate(&rules, ValidationMode::Strict);
        if let Some(error) = checked.validation_errors().next() {
            return Err(failed(error));
        }
        let digest = hex::encode(&Sha256::digest(RULES.as_bytes())[..4]);
        let answers = RwLock::new(HashMap::new());
        Ok(Self { inner: Arc::new(Inner { rules, schema, digest, answers }) })
    }

    /// Leave for `caller` to do `A` in `project`.
    ///
    /// # Errors
    /// [`IdentityError::Denied`], naming the roles that would allow it.
    pub fn authorize<A: Action>(
        &self,
        caller: &Caller,
        project: &ProjectId,
    ) -> Result<Authorized<A>, IdentityError> {
        self.authorize_on(caller, project, None)
    }

    /// Leave for `caller` to do `A` in `project` with a resource on which a permission governs, which is one more fact that
    /// the rules may permit or forbid by.
    ///
    /// # Errors
    /// [`IdentityError::Denied`], naming the roles that would allow it.
    pub fn authorize_on<A: Action>(
        &self,
        caller: &Caller,
        project: &ProjectId,
        permission: Option<Permission>,
    ) -> Result<Authorized<A>, IdentityError> {
        let (roles, has_token) = (caller.roles_in(project), caller.has_token());
        let question = Question { roles, has_token, permission, action: A::NAME };
        match self.answer(&question)? {
            Some(rule) => Ok(Authorized::mint(caller, project, &rule)),
            None => Err(self.denied(caller, project, A::NAME)),
        }
    }

    fn answer(&self, question: &Question) -> Result<Option<String>, IdentityError> {
        if let Ok(answers) = self.inner.answers.read()
            && let Some(known) = answers.get(question)
        {
            return Ok(known.clone());
        }
        let answer = self.evaluate(question)?;
        if let Ok(mut answers) = self.inner.answers.write() {
            if answers.len() >= REMEMBERED {
                answers.clear();
            }
            answers.insert(question.clone(), answer.clone());
        }
        Ok(answer)
    }

    /// The id of the rule that allows it, with the digest of the rules; `None` when it is denied.
    fn evaluate(&self, question: &Question) -> Result<Option<String>, IdentityError> {
        let principal = uid("User", "caller")?;
        let resource = uid("Project", "project")?;
        let roles = question.roles.iter().map(|r| RestrictedExpression::new_string(r.as_str().to_owned()));
        let attributes = HashMap::from([
            ("roles".to_owned(), RestrictedExpression::new_set(roles)),
            ("has_token".to_owned(), RestrictedExpression::new_bool(question.has_token)),
            (
                "permission".to_owned(),
                RestrictedExpression::new_string(
                    question.permission.map_or("", Permission::as_str).to_owned(),
                ),
            ),
        ]);
        let caller = Entity::new(principal.clone(), attributes, HashSet::new()).map_err(failed)?;
        let entities = Entities::from_entities([caller], Some(&self.inner.schema)).map_err(failed)?;
        let action = uid("Action", question.action)?;
        let request = Request::new(principal, action, resource, Context::empty(), Some(&self.inner.schema))
            .map_err(failed)?;
        let response = Authorizer::new().is_authorized(&request, &self.inner.rules, &entities);
        if response.decision() == Decision::Deny {
            return Ok(None);
        }
        let mut rules: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        rules.sort();
        Ok(Some(format!("{}@{}", rules.join("+"), self.inner.digest)))
    }

    fn denied(&self, caller: &Caller, project: &ProjectId, action: &'static str) -> IdentityError {
        let enough = |role: Role| {
            let question = Question { roles: vec![role], has_token: true, permission: None, action };
            self.answer(&question).ok().flatten().is_some()
        };
        let mut needed: Vec<&str> = Role::ALL.into_iter().filter(|r| enough(*r)).map(Role::as_str).collect();
        if !caller.has_token() {
            needed.push("(and a token, not the local caller)");
        }
        IdentityError::Denied {
            principal: caller.principal(),
            action: action.to_owned(),
            project: project.to_string(),
            needed: needed.join(" or "),
        }
    }
}

/// Gives every rule the name from its `@id`, so that a decision can be read.
fn named(rules: &PolicySet) -> Result<PolicySet, IdentityError> {
    let policies = rules.policies().map(|p| match p.annotation("id") {
        Some(id) => p.new_id(cedar_policy::PolicyId::new(id)),
        None => p.clone(),
    });
    PolicySet::from_policies(policies).map_err(failed)
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, IdentityError> {
    let kind = EntityTypeName::from_str(kind).map_err(failed)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::NAMES;

    fn allowed(policy: &Policy, role: Role, has_token: bool) -> Vec<&'static str> {
        NAMES
            .iter()
            .copied()
            .filter(|action| {
                policy
                    .answer(&Question { roles: vec![role], has_token, permission: None, action })
                    .unwrap()
                    .is_some()
            })
            .collect()
    }

    #[test]
    fn each_role_may_do_what_its_word_says() {
        let policy = Policy::built_in().unwrap();
        assert_eq!(allowed(&policy, Role::Viewer, true), ["project.read", "endpoint.predict"]);
        assert_eq!(
            allowed(&policy, Role::Contributor, true),
            [
                "project.read",
                "tracking.write",
                "data.write",
                "registry.write",
                "version.judge",
                "endpoint.deploy",
                "endpoint.predict",
                "endpoint.replay",
                "pipeline.run",
                "monitor.write",
                "ledger.read"
            ]
        );
        assert_eq!(
            allowed(&policy, Role::Reviewer, true),
            ["project.read", "version.judge", "version.approve", "endpoint.predict", "ledger.read"]
        );
        assert_eq!(allowed(&policy, Role::Auditor, true), ["project.read", "ledger.read", "ledger.verify"]);
        assert!(!allowed(&policy, Role::Admin, true).contains(&"version.approve"));
        for role in Role::ALL {
            let declares = allowed(&policy, role, true).contains(&"release_policy.declare");
            assert_eq!(declares, role == Role::Admin, "{role:?}");
        }
    }

    #[test]
    fn a_permission_on_a_resource_allows_what_its_word_says_and_no_more() {
        let policy = Policy::built_in().unwrap();
        let allowed = |permission| -> Vec<&'static str> {
            let question = |action| Question { roles: vec![], has_token: true, permission, action };
            NAMES.iter().copied().filter(|a| policy.answer(&question(a)).unwrap().is_some()).collect()
        };
        for nothing in [None, Some(Permission::Deny), Some(Permission::NoPermissions)] {
            assert!(allowed(nothing).is_empty(), "{nothing:?}");
        }
        assert_eq!(allowed(Some(Permission::Read)), ["project.read", "resource.read"]);
        assert_eq!(allowed(Some(Permission::Use)), ["project.read", "resource.read", "resource.use"]);
        let edit = allowed(Some(Permission::Edit));
        assert_eq!(
            edit,
            [
                "project.read",
                "tracking.write",
                "data.write",
                "registry.write",
                "resource.read",
                "resource.use",
                "resource.update"
            ]
        );
        let more: Vec<_> =
            allowed(Some(Permission::Manage)).into_iter().filter(|a| !edit.contains(a)).collect();
        assert_eq!(more, ["resource.delete", "resource.manage"]);
    }

    #[test]
    fn a_denial_on_a_resource_stands_against_every_role_but_an_admins() {
        let policy = Policy::built_in().unwrap();
        let may = |role| {
            let permission = Some(Permission::Deny);
            let question =
                Question { roles: vec![role], has_token: true, permission, action: "project.read" };
            policy.answer(&question).unwrap().is_some()
        };
        assert!(!may(Role::Contributor) && !may(Role::Auditor) && may(Role::Admin));
    }

    #[test]
    fn nobody_approves_without_a_token() {
        let policy = Policy::built_in().unwrap();
        for role in Role::ALL {
            assert!(!allowed(&policy, role, false).contains(&"version.approve"), "{role:?}");
        }
    }

    #[test]
    fn an_auditor_who_is_also_an_admin_changes_nothing() {
        let policy = Policy::built_in().unwrap();
        let roles = vec![Role::Admin, Role::Auditor];
        for action in [
            "tracking.write",
            "data.write",
            "version.judge",
            "release_policy.declare",
            "users.manage",
            "ledger.erase",
        ] {
            let question = Question { roles: roles.clone(), has_token: true, permission: None, action };
            assert_eq!(policy.answer(&question).unwrap(), None, "{action}");
        }
    }

    #[test]
    fn a_decision_names_its_rule() {
        let policy = Policy::built_in().unwrap();
        let question = Question {
            roles: vec![Role::Contributor],
            has_token: true,
            permission: None,
            action: "tracking.write",
        };
        let decision = policy.answer(&question).unwrap().unwrap();
        assert!(decision.starts_with("contributors@"), "{decision}");
    }
}
