"""What the unmodified MLflow client sees when a protected alias is to take a version.

Run as `python mlflow_release.py <tracking-uri> <model> <version> refused|moved`.
"""

from __future__ import annotations

import sys

from acceptance import use_server
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def main() -> int:
    uri, model, version, expected = sys.argv[1:]
    use_server(uri)
    client = MlflowClient()
    try:
        client.set_registered_model_alias(model, "champion", version)
    except MlflowException as refusal:
        print(refusal)
        sentence = f"alias `champion` takes only a released version, and {model}/{version} is not released: "
        told = sentence in str(refusal) and f"`trueline gate run {model}/{version}`" in str(refusal)
        return 0 if expected == "refused" and told and refusal.error_code == "PERMISSION_DENIED" else 1
    moved = client.get_model_version_by_alias(model, "champion").version
    return 0 if expected == "moved" and str(moved) == version else 1


if __name__ == "__main__":
    sys.exit(main())
