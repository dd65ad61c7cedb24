//! Workspaces as MLflow has them: projects with a description, and with roles to hand out.

use crate::roles::{insert_permission, insert_role};
use crate::store::{insert_project, project_row};
use crate::{
    Authorized, Grant, Identity, IdentityError, ManageProjects, Permission, Project, ProjectName,
    ResourceKind,
};
use serde_json::json;
use trueline_db::Tx;
use trueline_ledger::{NewEvent, ProjectId};

/// A project as MLflow sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
}

/// The roles that a new workspace has, for its admins to hand out.
const ROLES: [(&str, Permission, &str); 2] = [
    ("admin", Permission::Manage, "Full MANAGE authority over the workspace."),
    (
        "user",
        Permission::Use,
        "Read every resource in the workspace and create new ones; who makes one may do everything with it.",
    ),
];

impl Identity {
    /// Makes a project with a description, and with roles to hand out if it is to have them.
    ///
    /// # Errors
    /// [`IdentityError::BadName`], [`IdentityError::Taken`], or what the ledger says.
    pub async fn create_workspace(
        &self,
        leave: &Authorized<ManageProjects>,
        workspace: Workspace,
        with_roles: bool,
    ) -> Result<Workspace, IdentityError> {
        ProjectName::parse(&workspace.name)?;
        self.ledger()
            .write(leave.actor(), move |tx| {
                let name = &workspace.name;
                if project_row(tx, name)?.is_some() {
                    return Err(IdentityError::Taken(format!("Workspace '{name}' already exists.")));
                }
                let id = ProjectId::new(format!("p-{}", &tx.derived_id("project")[..12]));
                insert_project(tx, &id, name)?;
                if let Some(description) = &workspace.description {
                    describe(tx, name, description)?;
                }
                for (role, permission, about) in ROLES.iter().take(if with_roles { ROLES.len() } else { 0 }) {
                    let role = insert_role(tx, name, role, Some(about), None)?;
                    let (kind, pattern) = (ResourceKind::Workspace, "*".to_owned());
                    insert_permission(tx, role, &Grant { kind, pattern, permission: *permission })?;
                }
                Ok(workspace.clone())
            })
            .await
    }

    /// Says what a workspace is for.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the ledger says.
    pub async fn describe_workspace(
        &self,
        leave: &Authorized<ManageProjects>,
        name: &str,
        description: &str,
    ) -> Result<Workspace, IdentityError> {
        let (name, description) = (name.to_owned(), description.to_owned());
        self.ledger()
            .write(leave.actor(), move |tx| {
                let project = require(tx, &name)?;
                describe(tx, &name, &description)?;
                let event = NewEvent::new(&project.id, "project.described", "project", &name);
                tx.emit(event.with(json!({ "description": description })))?;
                read(tx, &name)
            })
            .await
    }

    /// One workspace.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], or what the database says.
    pub async fn workspace(&self, name: &str) -> Result<Workspace, IdentityError> {
        let name = name.to_owned();
        self.ledger().db().read(move |tx| read(tx, &name)).await
    }
}

fn require(tx: &mut Tx<'_>, name: &str) -> Result<Project, IdentityError> {
    project_row(tx, name)?.ok_or_else(|| IdentityError::Missing(format!("Workspace '{name}' not found")))
}

fn describe(tx: &mut Tx<'_>, name: &str, description: &str) -> Result<(), IdentityError> {
    tx.execute(
        "INSERT INTO project_notes (project, description) VALUES (?1, ?2)
         ON CONFLICT (project) DO UPDATE SET description = excluded.description",
        &[name.into(), description.into()],
    )?;
    Ok(())
}

fn read(tx: &mut Tx<'_>, name: &str) -> Result<Workspace, IdentityError> {
    let project = require(tx, name)?;
    let sql = "SELECT description FROM project_notes WHERE project = ?1";
    Ok(Workspace { name: project.name, description: tx.scalar(sql, &[name.into()])? })
}
