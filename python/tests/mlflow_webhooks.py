"""Webhooks as the unmodified client makes them and as a receiver sees them.

Run as `python mlflow_webhooks.py <server>`; the server must allow plain HTTP to this machine. It exits 0 only if every
check passed.
"""

from __future__ import annotations

import base64
import hmac
import json
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from acceptance import Checks, run_checked, use_server
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent, WebhookStatus
from mlflow.exceptions import MlflowException

SECRET = "only the two of us know"
MODEL_CREATED = WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED)
VERSION_CREATED = WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED)
ALIAS_CREATED = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
PROMPT_CREATED = WebhookEvent(WebhookEntity.PROMPT, WebhookAction.CREATED)


class Receiver:
    """A server that keeps what it is told, and answers with the statuses that it was given."""

    def __init__(self) -> None:
        self.told: queue.Queue = queue.Queue()
        self.answers: list[tuple[int, dict[str, str]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                receiver.told.put((self.path, dict(self.headers.items()), body))
                status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{path}"

    def next(self) -> tuple[str, dict[str, str], dict, str]:
        path, headers, body = self.told.get(timeout=20)
        return path, {k.lower(): v for k, v in headers.items()}, json.loads(body), body

    def silent(self, client: MlflowClient, marker: str) -> bool:
        """Whether nothing came before a delivery that was asked for last."""
        client.create_registered_model(marker)
        return self.next()[2]["data"]["name"] == marker


def signed(headers: dict[str, str], body: str) -> bool:
    content = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.{body}"
    expected = base64.b64encode(hmac.digest(SECRET.encode(), content.encode(), "sha256")).decode()
    return headers.get("x-mlflow-signature") == f"v1,{expected}"


def told_and_signed(check: Checks, client: MlflowClient, receiver: Receiver) -> None:
    check.section("what happens is told, signed, in MLflow's form")
    client.create_registered_model("before-the-webhook")
    hook = client.create_webhook(
        "hook", receiver.url("all"), [MODEL_CREATED, VERSION_CREATED, ALIAS_CREATED], "about it", SECRET
    )
    check.equal("the secret is not told", hook.secret, None)
    client.create_registered_model("told", {"team": "a"}, "what it is for")
    path, headers, body, raw = receiver.next()
    check.equal("the path is the webhook's", path, "/all")
    check.equal("entity and action", (body["entity"], body["action"]), ("registered_model", "created"))
    check.equal(
        "what happened before the webhook was made is not told; what happens afterwards is",
        body["data"],
        {"name": "told", "tags": {"team": "a"}, "description": "what it is for"},
    )
    check.that("it is signed", signed(headers, raw), headers)
    check.that("the timestamp is now", abs(time.time() - int(headers["x-mlflow-timestamp"])) < 60, headers)
    client.create_model_version("told", "s3://bucket/model", run_id="1234567890abcdef")
    body = receiver.next()[2]
    check.equal("a version", (body["entity"], body["data"]["version"]), ("model_version", "1"))
    check.equal("no description is null", body["data"]["description"], None)
    client.set_registered_model_alias("told", "prod", "1")
    body = receiver.next()[2]
    check.equal("an alias", body["data"], {"name": "told", "alias": "prod", "version": "1"})


def tried_again(check: Checks, client: MlflowClient, receiver: Receiver) -> None:
    check.section("what fails is tried again under the same id, where that may help")
    receiver.answers = [(503, {}), (429, {"retry-after": "1"}), (200, {})]
    client.create_registered_model("flaky")
    tries = [receiver.next() for _ in range(3)]
    check.equal("three tries have one id", len({t[1]["x-mlflow-delivery-id"] for t in tries}), 1)
    check.that("each is signed anew", all(signed(t[1], t[3]) for t in tries))
    receiver.answers = [(400, {})]
    client.create_registered_model("refused")
    check.equal("a refusal arrives", receiver.next()[2]["data"]["name"], "refused")
    check.that("and is not sent again", receiver.silent(client, "after-the-refusal"))
    receiver.answers = [(302, {"location": receiver.url("elsewhere")})]
    client.create_registered_model("redirected")
    check.equal("a redirection arrives", receiver.next()[0], "/all")
    check.that("and is not followed", receiver.silent(client, "after-the-redirection"))


def changed(check: Checks, client: MlflowClient, receiver: Receiver) -> None:
    check.section("a webhook is tested, changed, switched off and deleted")
    hook = next(iter(client.list_webhooks()))
    trial = client.test_webhook(hook.webhook_id, ALIAS_CREATED)
    check.equal("a test arrives", (trial.success, trial.response_status), (True, 200))
    check.equal("with an example", receiver.next()[2]["data"]["alias"], "example_alias")
    receiver.answers = [(500, {})]
    trial = client.test_webhook(hook.webhook_id)
    check.equal("a test that fails says so", (trial.success, trial.response_status), (False, 500))
    receiver.next()
    client.update_webhook(hook.webhook_id, status=WebhookStatus.DISABLED)
    client.create_registered_model("while-off")
    client.update_webhook(hook.webhook_id, status=WebhookStatus.ACTIVE, url=receiver.url("moved"))
    check.that("what happened while it was off is not told", receiver.silent(client, "on-again"))
    updated = client.update_webhook(hook.webhook_id, events=[PROMPT_CREATED])
    check.equal("its topics change", updated.events, [PROMPT_CREATED])
    client.create_registered_model("no-prompt")
    client.create_prompt("a-prompt", tags={"k": "v"})
    path, _, body, _ = receiver.next()
    check.equal("a prompt is told, a model no longer", body["data"]["name"], "a-prompt")
    check.equal("without the tags that make it one", body["data"]["tags"], {"k": "v"})
    check.equal("at the new address", path, "/moved")
    client.delete_webhook(hook.webhook_id)
    check.equal("it is gone", list(client.list_webhooks()), [])
    try:
        client.get_webhook(hook.webhook_id)
    except MlflowException as error:
        check.equal("and not found", error.error_code, "RESOURCE_DOES_NOT_EXIST")


def main(check: Checks) -> None:
    use_server(sys.argv[1])
    client, receiver = MlflowClient(), Receiver()
    told_and_signed(check, client, receiver)
    tried_again(check, client, receiver)
    changed(check, client, receiver)


if __name__ == "__main__":
    sys.exit(run_checked(main))
