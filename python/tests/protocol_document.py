"""The OpenAPI document that a server serves of the Open Inference Protocol, held against that server by schemathesis:
requests that the document allows and some that it does not, each answer compared with what it says of answers. Then the
endpoint's model is asked what it can answer, for what is made up seldom has its columns.

    python tests/protocol_document.py http://127.0.0.1:5700 ENDPOINT FOLDER

ENDPOINT is answered by version 1 of a model of floats. Once paths are made up, once they are those of the endpoint.
Configurations go to FOLDER. Prints what schemathesis says and exits 0 only if it found nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import requests
import schemathesis

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
SEED = "20261122"
EXAMPLES = "25"


def document(url: str) -> str:
    return f"{url}/v2/docs/dataplane.json"


def run(url: str, config: Path) -> int:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += [document(url), "--url", url, "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
    command += ["--seed", SEED, "--max-examples", EXAMPLES, "--generation-database", "none", "--no-color"]
    command += ["--warnings", "off"]
    return subprocess.run(command, cwd=config.parent, check=False).returncode


def ask(url: str, endpoint: str) -> None:
    """Asks the model with its own columns, for an answer as JSON and for one with bytes behind it."""
    schema = schemathesis.openapi.from_url(document(url))
    metadata = requests.get(f"{url}/v2/models/{endpoint}", timeout=10).json()
    inputs = [{**tensor, "shape": [2], "data": [1.0, 2.0]} for tensor in metadata["inputs"]]
    told = {"application/json": {}, "application/octet-stream": {"parameters": {"binary_data_output": True}}}
    for path in ["/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"]:
        for kind, wish in told.items():
            case = schema[path]["POST"].Case(
                path_parameters={"model": endpoint, "version": "1"},
                body={"id": "7", "inputs": inputs, **wish},
                media_type="application/json",
            )
            answer = case.call_and_validate(base_url=url)
            assert answer.status_code == 200, answer.content
            assert answer.headers["content-type"] == [kind], answer.headers
            print(f"{path}: an answer as {kind}")


def main() -> None:
    url, endpoint, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    made_up, own = folder / "made-up.toml", folder / "own.toml"
    made_up.write_text("")
    own.write_text(f'[parameters]\n"path.model" = "{endpoint}"\n"path.version" = "1"\n')
    failed = max(run(url, made_up), run(url, own))
    ask(url, endpoint)
    sys.exit(failed)


if __name__ == "__main__":
    main()
