"""The places script: artifacts that don't lie in the server's own store, through the unmodified MLflow client.

Run as `python mlflow_places.py shared <tracking-uri> <folder>` against a server whose `--default-artifact-root` is
`file://<folder>`, so that the client writes there itself, or as `python mlflow_places.py destination <tracking-uri>
<folder>` against one whose `--artifacts-destination` is the folder, or as `python mlflow_places.py bucket <tracking-uri>
<folder>` against one whose destination is a bucket, which an S3 server keeps as files of the folder. It exits 0 only if
every check passed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import requests
from acceptance import Checks, run_checked, use_server

MODEL = {"MLmodel": b"flavors: {}\n", "data/weights.bin": bytes(range(256)) * 5000}


@dataclass
class Place:
    """A server, the folder in which its artifacts lie as plain files, and what the script made there."""

    uri: str
    folder: Path
    checks: Checks
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def get(self, path: str, /, **params: str) -> requests.Response:
        """Ask the server as MLflow's pages do."""
        return requests.get(f"{self.uri}{path}", params=params, timeout=30)

    def run_with_model(self, client: mlflow.MlflowClient) -> mlflow.entities.Run:
        """A run of a new experiment with the files of a model."""
        run = client.create_run(client.create_experiment(f"places-{self.mark}"))
        with tempfile.TemporaryDirectory() as made:
            for name, content in MODEL.items():
                path = Path(made, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            client.log_artifacts(run.info.run_id, made, "model")
        return run


def downloaded(uri: str) -> dict[str, bytes]:
    """All files below an address, by path, but for the note that the client adds to a version's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
        files = [path for path in root.rglob("*") if path.is_file() and path.name != "registered_model_meta"]
        return {str(path.relative_to(root)): path.read_bytes() for path in files}


def frozen(place: Place, client: mlflow.MlflowClient, run_id: str, on_disk: Path) -> None:
    """A version stays what was registered when the plain files that it was made from are changed or gone."""
    checks, name = place.checks, f"places-{place.mark}"
    client.create_registered_model(name)
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    client.create_model_version(name, source, run_id)
    checks.equal("a version has the plain files", downloaded(f"models:/{name}/1"), MODEL)
    (on_disk / "MLmodel").write_bytes(b"spoilt")
    (on_disk / "data/weights.bin").unlink()
    checks.equal("and keeps them when they are spoilt", downloaded(f"models:/{name}/1"), MODEL)
    answer = place.get("/model-versions/get-artifact", name=name, version="1", path="MLmodel")
    checks.equal("the pages get the kept one", (answer.status_code, answer.content), (200, MODEL["MLmodel"]))


def shared(place: Place) -> None:
    """Clients write to the folder themselves; the server reads what they wrote, and nothing else of its machine."""
    checks, client = place.checks, use_server(place.uri)
    checks.section("Files that the client writes itself")
    run = place.run_with_model(client)
    run_id, root = run.info.run_id, run.info.artifact_uri.removeprefix("file://")
    checks.equal("they lie below the root", Path(root).is_relative_to(place.folder), True)
    checks.equal("as plain files", Path(root, "model/MLmodel").read_bytes(), MODEL["MLmodel"])
    listed = place.get("/api/2.0/mlflow/artifacts/list", run_id=run_id, path="model").json()["files"]
    expected = [
        {"path": "model/MLmodel", "is_dir": False, "file_size": len(MODEL["MLmodel"])},
        {"path": "model/data", "is_dir": True},
    ]
    checks.equal("the server lists them", sorted(listed, key=lambda f: f["path"]), expected)
    answer = place.get("/get-artifact", run_uuid=run_id, path="model/data/weights.bin")
    checks.equal("and sends them", answer.content, MODEL["data/weights.bin"])
    sent = {"run_uuid": run_id, "path": "notes/a.txt"}
    url = f"{place.uri}/ajax-api/2.0/mlflow/upload-artifact"
    checks.equal("an upload is taken", requests.post(url, params=sent, data="hello", timeout=30).status_code, 200)
    checks.equal("and lies there too", Path(root, "notes/a.txt").read_text(), "hello")

    checks.section("Versions")
    frozen(place, client, run_id, Path(root, "model"))

    checks.section("The rest of the machine")
    with tempfile.TemporaryDirectory() as elsewhere:
        Path(elsewhere, "secret").write_text("secret")
        os.symlink(Path(elsewhere, "secret"), Path(root, "link"))
        os.symlink(elsewhere, Path(root, "way"))
        for path in ("link", "way/secret", "../../../../secret"):
            answer = place.get("/get-artifact", run_uuid=run_id, path=path)
            checks.that(f"{path} leads nowhere", answer.status_code in (400, 404), answer.text)
        names = [f["path"] for f in place.get("/api/2.0/mlflow/artifacts/list", run_id=run_id).json()["files"]]
        checks.equal("links are not listed", sorted(names), ["model", "notes"])
        outside = client.create_experiment(f"outside-{place.mark}", artifact_location=f"file://{elsewhere}")
        stray = client.create_run(outside).info.run_id
        answer = place.get("/api/2.0/mlflow/artifacts/list", run_id=stray)
        checks.equal("a location outside of the root is not read", answer.status_code, 400)


def destination(place: Place) -> None:
    """Artifacts pass through the server, which keeps them as plain files."""
    checks, client = place.checks, use_server(place.uri)
    checks.section("Files that pass through the server")
    run = place.run_with_model(client)
    run_id, uri = run.info.run_id, run.info.artifact_uri
    checks.that("they have the proxy's address", uri.startswith("mlflow-artifacts:/"), uri)
    on_disk = place.folder / uri.removeprefix("mlflow-artifacts:/") / "model"
    checks.equal("and lie below the destination", (on_disk / "MLmodel").read_bytes(), MODEL["MLmodel"])
    checks.equal("the client lists them", [f.path for f in client.list_artifacts(run_id)], ["model"])
    checks.equal("and reads them", downloaded(f"{uri}/model"), MODEL)
    proxied = f"{place.uri}/api/2.0/mlflow-artifacts/artifacts"
    folder = uri.removeprefix("mlflow-artifacts:/")
    part = requests.get(
        f"{proxied}/{folder}/model/data/weights.bin",
        headers={"Range": "bytes=250-259"},
        timeout=30,
    )
    checks.equal("also in part", (part.status_code, part.content), (206, MODEL["data/weights.bin"][250:260]))

    checks.section("Versions")
    frozen(place, client, run_id, on_disk)

    checks.section("Deletion")
    requests.delete(f"{proxied}/{folder}/model", timeout=30).raise_for_status()
    checks.equal("its files are gone from the disk", [path for path in on_disk.rglob("*") if path.is_file()], [])

    checks.section("Another project")
    requests.post(f"{place.uri}/api/v1/projects", json={"name": f"p-{place.mark}"}, timeout=30).raise_for_status()
    theirs = f"{place.uri}/projects/p-{place.mark}/api/2.0/mlflow-artifacts/artifacts"
    requests.put(f"{theirs}/{folder}/theirs.txt", data=b"theirs", timeout=30).raise_for_status()
    checks.equal("has its own files", requests.get(f"{theirs}/{folder}/theirs.txt", timeout=30).content, b"theirs")
    checks.equal(
        "which others don't find", requests.get(f"{proxied}/{folder}/theirs.txt", timeout=30).status_code, 404
    )
    found = next(place.folder.glob("workspaces/*/**/theirs.txt")).relative_to(place.folder)
    checks.equal("wherever they look", requests.get(f"{proxied}/{found}", timeout=30).status_code, 404)
    checks.equal("or write", requests.put(f"{proxied}/{found}", data=b"x", timeout=30).status_code, 400)


def asked(place: Place, route: str) -> int:
    """How often a route was asked, as the server counts."""
    lines = place.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("trueline_http_requests_total") and route in line]
    return sum(int(line.rsplit(" ", 1)[1]) for line in counted)


def bucket(place: Place) -> None:
    """What passes through the server lies in a bucket, and large files go there past it."""
    destination(place)
    checks, client = place.checks, use_server(place.uri)
    checks.section("Large files")
    info = place.get("/api/3.0/mlflow/server-info").json()
    told = [info["multipart_uploads_enabled"], info["multipart_downloads_enabled"]]
    checks.equal("the server offers parts", told, [True, True])
    five = str(5 * 1024**2)
    for name in ("UPLOAD_MINIMUM_FILE_SIZE", "UPLOAD_CHUNK_SIZE", "DOWNLOAD_CHUNK_SIZE"):
        os.environ[f"MLFLOW_MULTIPART_{name}"] = five
    content = {"large one.bin": bytes(range(251)) * 70_000, "small.txt": b"small"}
    run = client.create_run(client.create_experiment(f"large-{place.mark}"))
    with tempfile.TemporaryDirectory() as made:
        for name, data in content.items():
            Path(made, name).write_bytes(data)
        client.log_artifacts(run.info.run_id, made, "data")
    checks.equal("the client takes up the offer", asked(place, "/mpu/complete/"), 1)
    lies = place.folder / run.info.artifact_uri.removeprefix("mlflow-artifacts:/") / "data"
    checks.equal("and the file lies in the bucket", (lies / "large one.bin").read_bytes(), content["large one.bin"])
    checks.equal("both come back", downloaded(f"{run.info.artifact_uri}/data"), content)
    checks.equal("read from the bucket itself", asked(place, "/presigned/") >= len(content), True)

    checks.section("A version of it")
    name = f"large-{place.mark}"
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/data", run.info.run_id)
    (lies / "large one.bin").unlink()
    checks.equal("stays when the bucket has it no more", downloaded(f"models:/{name}/1"), content)

    checks.section("An upload that is given up")
    proxy = f"{place.uri}/api/2.0/mlflow-artifacts"
    below = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    begun = requests.post(
        f"{proxy}/mpu/create/{below}", json={"path": "/tmp/half.bin", "num_parts": 2}, timeout=30
    ).json()
    checks.equal("has an address for each part", [c["part_number"] for c in begun["credentials"]], [1, 2])
    requests.put(begun["credentials"][0]["url"], data=b"half", timeout=30).raise_for_status()
    given_up = {"path": "/tmp/half.bin", "upload_id": begun["upload_id"]}
    requests.post(f"{proxy}/mpu/abort/{below}", json=given_up, timeout=30).raise_for_status()
    late = requests.put(begun["credentials"][1]["url"], data=b"late", timeout=30)
    checks.that("takes no more parts", late.status_code >= 400, late.text)
    answer = requests.get(f"{proxy}/artifacts/{below}/half.bin", timeout=30)
    checks.equal("and leaves nothing", answer.status_code, 404)


if __name__ == "__main__":
    script = {"shared": shared, "destination": destination, "bucket": bucket}[sys.argv[1]]
    place_of = (sys.argv[2].rstrip("/"), Path(sys.argv[3]))
    sys.exit(run_checked(lambda checks: script(Place(*place_of, checks))))
