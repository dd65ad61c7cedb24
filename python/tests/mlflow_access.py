"""Users, permissions and roles as the unmodified client meets them.

Run as `python mlflow_access.py <server> <admin> <password>` against a server with `--app-name basic-auth`. It exits 0 only
if every check passed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import requests
from acceptance import Checks, run_checked, use_server
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

SERVER, ADMIN, PASSWORD = sys.argv[1:4]
ANN, BOB = ("Ann@example.com", "ann's password"), ("bob", "bob's password")


@contextmanager
def as_user(user: tuple[str, str]) -> Iterator[MlflowClient]:
    """Be somebody else for a while."""
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = user
    try:
        yield use_server(SERVER)
    finally:
        del os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]


def call(user: tuple[str, str] | None, method: str, path: str, **fields: object) -> requests.Response:
    """A call of the permission API, as the auth client of either generation makes it."""
    given = {"params": fields} if method == "GET" else {"json": fields}
    return requests.request(method, f"{SERVER}/api/{path}", auth=user, timeout=60, **given)


def admin(method: str, path: str, **fields: object) -> dict:
    answer = call((ADMIN, PASSWORD), method, path, **fields)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()


def refused(check: Checks, what: str, action: object, code: str = "PERMISSION_DENIED") -> None:
    try:
        action()
    except MlflowException as error:
        check.equal(what, error.error_code, code)
    else:
        check.that(what, False, "it was allowed")


def users(check: Checks) -> None:
    check.section("who is nobody is asked who it is")
    client = use_server(SERVER)
    refused(check, "without a password nothing is seen", client.search_experiments, "UNAUTHENTICATED")
    asked = call(None, "GET", "2.0/mlflow/users/current")
    check.equal("a browser is asked for a password", asked.headers["www-authenticate"], 'Basic realm="mlflow"')
    with as_user((ADMIN, "wrong")) as client:
        refused(check, "a wrong password is refused", client.search_experiments, "UNAUTHENTICATED")
    check.section("an admin makes users")
    for name, password in (ANN, BOB):
        made = admin("POST", "2.0/mlflow/users/create", username=name, password=password)["user"]
        check.equal(f"{name} is made", (made["username"], made["is_admin"]), (name, False))
    told = admin("GET", "2.0/mlflow/users/list")
    check.that("passwords are not told", "password" not in str(told), told)
    check.equal("a user can't make users", call(ANN, "POST", "2.0/mlflow/users/create").status_code, 403)
    check.equal("nor see another", call(ANN, "GET", "2.0/mlflow/users/get", username="bob").status_code, 403)
    again = call((ADMIN, PASSWORD), "POST", "2.0/mlflow/users/create", username="bob", password="x")
    check.equal("a name is given once", again.json()["error_code"], "RESOURCE_ALREADY_EXISTS")


def makers(check: Checks) -> tuple[str, str]:
    check.section("who makes something may do everything with it, others what the default says")
    with as_user(ANN) as client:
        experiment = client.create_experiment("anns")
        run = client.create_run(experiment).info.run_id
        client.log_metric(run, "m", 1.0)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "note.txt"
            file.write_text("a note")
            client.log_artifact(run, str(file))
        check.equal("its artifacts are there", [a.path for a in client.list_artifacts(run)], ["note.txt"])
        client.create_registered_model("anns-model")
    with as_user(BOB) as client:
        check.equal("READ lets one see", client.get_run(run).data.metrics, {"m": 1.0})
        refused(check, "but not log", lambda: client.log_metric(run, "m", 2.0))
        refused(check, "nor tag", lambda: client.set_tag(run, "k", "v"))
        refused(check, "nor delete", lambda: client.delete_run(run))
        refused(check, "nor rename a model", lambda: client.rename_registered_model("anns-model", "bobs"))
        refused(check, "nor make webhooks", lambda: list(client.list_webhooks()))
    put = f"{SERVER}/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/x.txt"
    check.equal("nor upload", requests.put(put, data=b"x", auth=BOB, timeout=60).status_code, 403)
    return experiment, run


def permissions(check: Checks, experiment: str, run: str) -> None:
    check.section("permissions of both generations of clients are the same grants")
    old = {"experiment_id": experiment, "username": "bob"}
    given = call(ANN, "POST", "2.0/mlflow/experiments/permissions/create", permission="EDIT", **old)
    check.equal("the maker grants", given.json()["experiment_permission"]["permission"], "EDIT")
    new = {"resource_type": "experiment", "resource_id": experiment, "username": "bob"}
    seen = call(BOB, "GET", "3.0/mlflow/users/permissions/get", **new).json()
    check.equal("the new call tells it", seen, {"allowed": True, "permission": "EDIT"})
    with as_user(BOB) as client:
        client.log_metric(run, "m", 2.0)
        refused(check, "EDIT does not delete", lambda: client.delete_experiment(experiment))
    check.equal("nor grant", call(BOB, "POST", "3.0/mlflow/users/permissions/grant", permission="READ", **new).status_code, 403)
    call(ANN, "POST", "3.0/mlflow/users/permissions/revoke", **new)
    gone = call(ANN, "GET", "2.0/mlflow/experiments/permissions/get", **old)
    check.equal("what is revoked is gone for the old call", gone.json()["error_code"], "RESOURCE_DOES_NOT_EXIST")
    check.section("searches hide what may not be read")
    call(ANN, "POST", "2.0/mlflow/experiments/permissions/create", permission="NO_PERMISSIONS", **old)
    with as_user(ANN) as client:
        names = {e.name for e in client.search_experiments()}
        check.that("the maker finds it", "anns" in names, names)
    with as_user(BOB) as client:
        names = {e.name for e in client.search_experiments()}
        check.that("others don't", "anns" not in names and "Default" in names, names)
        check.equal("nor its runs", list(client.search_runs([experiment])), [])
        refused(check, "nor the run by its id", lambda: client.get_run(run))
        refused(check, "nor the experiment by its name", lambda: client.get_experiment_by_name("anns"))
    call(ANN, "DELETE", "2.0/mlflow/experiments/permissions/delete", **old)


def roles(check: Checks, experiment: str, run: str) -> None:
    check.section("roles hold permissions for many")
    role = admin("POST", "3.0/mlflow/roles/create", workspace="default", name="editors")["role"]
    permit = {"role_id": role["id"], "resource_type": "experiment", "resource_pattern": "*"}
    admin("POST", "3.0/mlflow/roles/permissions/add", permission="EDIT", **permit)
    admin("POST", "3.0/mlflow/roles/assign", username="bob", role_id=role["id"])
    with as_user(BOB) as client:
        client.log_metric(run, "m", 3.0)
        check.equal("a role lets its members log", client.get_run(run).data.metrics["m"], 3.0)
    deny = {"role_id": role["id"], "resource_type": "run", "resource_pattern": "*", "permission": "DENY"}
    admin("POST", "3.0/mlflow/roles/permissions/add", **deny)
    with as_user(BOB) as client:
        refused(check, "a denial of runs goes before what holds them", lambda: client.get_run(run))
        check.equal("the experiment is seen still", client.get_experiment(experiment).name, "anns")
    check.equal("a member can't change the role", call(BOB, "DELETE", "3.0/mlflow/roles/delete", role_id=role["id"]).status_code, 403)
    admin("DELETE", "3.0/mlflow/roles/delete", role_id=role["id"])
    with as_user(BOB) as client:
        check.equal("without the role the default holds", client.get_run(run).info.run_id, run)


def names(check: Checks) -> None:
    check.section("grants follow names")
    with as_user(ANN) as client:
        client.rename_registered_model("anns-model", "renamed")
        client.update_registered_model("renamed", "still hers")
        client.delete_registered_model("renamed")
    with as_user(BOB) as client:
        client.create_registered_model("renamed")
    with as_user(ANN) as client:
        refused(check, "a new model of an old name is its maker's", lambda: client.delete_registered_model("renamed"))


def passwords(check: Checks) -> None:
    check.section("passwords change, users go")
    change = {"username": "bob", "password": "another"}
    told = call(BOB, "PATCH", "2.0/mlflow/users/update-password", **change).json()["message"]
    check.that("one's own takes the old one", told.startswith("Current password is required"), told)
    done = call(BOB, "PATCH", "2.0/mlflow/users/update-password", current_password=BOB[1], **change)
    check.equal("with it, it changes", done.status_code, 200)
    check.equal("the old one ends", call(BOB, "GET", "2.0/mlflow/users/current").status_code, 401)
    check.equal("the new one holds", call(("bob", "another"), "GET", "2.0/mlflow/users/current").status_code, 200)
    admin("DELETE", "2.0/mlflow/users/delete", username="bob")
    check.equal("a user who is gone is nobody", call(("bob", "another"), "GET", "2.0/mlflow/users/current").status_code, 401)
    own = call((ADMIN, PASSWORD), "DELETE", "2.0/mlflow/users/delete", username=ADMIN)
    check.equal("an admin can't go alone", own.status_code, 400)


def main(check: Checks) -> None:
    users(check)
    experiment, run = makers(check)
    permissions(check, experiment, run)
    roles(check, experiment, run)
    names(check)
    passwords(check)


if __name__ == "__main__":
    mlflow.set_tracking_uri(SERVER)
    sys.exit(run_checked(main))
