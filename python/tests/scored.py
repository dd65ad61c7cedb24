"""What MLflow's own scoring server answers, without a socket: what served models are held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.exceptions
from mlflow.pyfunc import scoring_server


def load(path: Path) -> Any:
    """A saved model, as the scoring server loads it."""
    return scoring_server.load_model_with_mlflow_config(str(path))


def scored(model: Any, body: Any) -> tuple[int, Any]:
    """Status and body of the answer to a request; of a refusal, what MLflow says of it."""
    try:
        answer = scoring_server.invocations(
            data=json.dumps(body),
            content_type="application/json",
            model=model,
            input_schema=model.metadata.get_input_schema(),
        )
    except mlflow.exceptions.MlflowException as error:
        return error.get_http_status_code(), json.loads(error.serialize_as_json())
    return answer.status, json.loads(answer.response)
