"""The unmodified clients of the serving protocols against one endpoint: tritonclient and kserve, over HTTP and gRPC. One
of them a process, for both register the same messages.

    python tests/protocol_clients.py triton|kserve http://127.0.0.1:5700 ENDPOINT EXPECTED.json

EXPECTED.json has `columns`, `rows` (floats) and `predictions`, what MLflow itself predicts for the rows. Prints what was
checked and exits 0 only if every check passed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

checks: list[tuple[bool, str]] = []


def check(good: Any, what: str) -> None:
    checks.append((bool(good), what))
    print(f"{'ok    ' if good else 'FAILED'}  {what}", flush=True)


def columns_of(told: dict[str, Any]) -> dict[str, np.ndarray]:
    rows = np.array(told["rows"], dtype=np.float64)
    return {name: np.ascontiguousarray(rows[:, [i]]) for i, name in enumerate(told["columns"])}


def same(got: np.ndarray, expected: Any) -> bool:
    return np.array_equal(np.asarray(got).reshape(-1), np.asarray(expected, dtype=np.asarray(got).dtype).reshape(-1))


def with_triton(module: Any, url: str, told: dict[str, Any], kinds: list[dict[str, Any]], name: str) -> None:
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

    endpoint, expected = told["endpoint"], told["predictions"]
    client = module.InferenceServerClient(url)
    check(client.is_server_live() and client.is_server_ready(), f"{name}: the server is live and ready")
    check(client.is_model_ready(endpoint), f"{name}: the model is ready")
    check(not client.is_model_ready("nowhere"), f"{name}: a model that is not there is not ready")
    as_json = {"as_json": True} if "grpc" in name else {}
    metadata = client.get_model_metadata(endpoint, **as_json)
    check(metadata["name"] == endpoint and metadata["versions"] == ["1"], f"{name}: the model tells of itself")
    check([i["name"] for i in metadata["inputs"]] == told["columns"], f"{name}: its inputs are its columns")
    check(client.get_server_metadata(**as_json)["name"] == "trueline", f"{name}: the server tells of itself")
    index = client.get_model_repository_index(**as_json)
    models = index["models"] if isinstance(index, dict) else index
    check([m["name"] for m in models] == [endpoint], f"{name}: the repository lists it")
    client.load_model(endpoint)
    for kind in kinds:
        inputs = []
        for column, values in columns_of(told).items():
            tensor = module.InferInput(column, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values, **kind)
            inputs.append(tensor)
        result = client.infer(endpoint, inputs, request_id="7")
        check(same(result.as_numpy("predict"), expected), f"{name}: columns are answered {kind}")
        output = module.InferRequestedOutput("predict", **{k: v for k, v in kind.items()})
        result = client.infer(endpoint, inputs, outputs=[output], model_version="1")
        check(same(result.as_numpy("predict"), expected), f"{name}: an output by name, a version by number {kind}")
    rows = np.array(told["rows"], dtype=np.float32)
    matrix = module.InferInput("input", list(rows.shape), "FP32")
    matrix.set_data_from_numpy(rows)
    result = client.infer(endpoint, [matrix])
    check(same(result.as_numpy("predict"), expected), f"{name}: a matrix is answered")
    for what, ask in {
        "a model that is not there": lambda: client.infer("nowhere", [matrix]),
        "a version that does not answer": lambda: client.infer(endpoint, [matrix], model_version="9"),
        "an output that is not there": lambda: client.infer(
            endpoint, [matrix], outputs=[module.InferRequestedOutput("other")]
        ),
        "unloading": lambda: client.unload_model(endpoint),
    }.items():
        try:
            ask()
            check(False, f"{name}: {what} is refused")
        except InferenceServerException as error:
            check(len(error.message()) > 10, f"{name}: {what} is refused: {error.message()}")
    client.close()


def with_triton_compressed(url: str, told: dict[str, Any]) -> None:
    import tritonclient.http as triton_http

    client = triton_http.InferenceServerClient(url)
    rows = np.array(told["rows"], dtype=np.float32)
    matrix = triton_http.InferInput("input", list(rows.shape), "FP32")
    matrix.set_data_from_numpy(rows)
    result = client.infer(told["endpoint"], [matrix], request_compression_algorithm="gzip")
    check(same(result.as_numpy("predict"), told["predictions"]), "triton http: a compressed request is answered")
    raw = triton_http.InferenceServerClient(url)
    body = rows.tobytes()
    answer = raw._post(
        f"v2/models/{told['endpoint']}/infer", body, {"Inference-Header-Content-Length": "0"}, None
    )
    check(answer.status_code in (200, 400), f"triton http: a body of bytes alone: {answer.status_code}")


async def with_kserve(url: str, told: dict[str, Any]) -> None:
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    endpoint, expected = told["endpoint"], told["predictions"]
    columns = [InferInput(name, list(v.shape), "FP64", data=v) for name, v in columns_of(told).items()]
    request = InferRequest(model_name=endpoint, infer_inputs=columns, request_id="7")
    for protocol in ["v1", "v2"]:
        client = InferenceRESTClient(RESTConfig(protocol=protocol))
        if protocol == "v2":
            check(await client.is_server_live(url), "kserve rest v2: the server is live")
            check(await client.is_server_ready(url), "kserve rest v2: the server is ready")
        check(await client.is_model_ready(url, endpoint), f"kserve rest {protocol}: the model is ready")
        if protocol == "v2":
            answer = await client.infer(url, request, model_name=endpoint)
            check(same(answer.outputs[0].as_numpy(), expected), "kserve rest v2: columns are answered")
            check(answer.id == "7", "kserve rest v2: the id comes back")
        else:
            answer = await client.infer(url, {"instances": told["rows"]}, model_name=endpoint)
            check(answer["predictions"] == expected, "kserve rest v1: instances are answered")
    host = url.removeprefix("http://")
    client = InferenceGRPCClient(url=host)
    check(await client.is_server_live() and await client.is_server_ready(), "kserve grpc: live and ready")
    check(await client.is_model_ready(endpoint), "kserve grpc: the model is ready")
    answer = await client.infer(InferRequest(model_name=endpoint, infer_inputs=columns, request_id="7"))
    check(same(answer.outputs[0].as_numpy(), expected), "kserve grpc: columns are answered")
    check(answer.id == "7", "kserve grpc: the id comes back")


def main() -> int:
    client, url, endpoint, file = sys.argv[1:]
    told = json.loads(Path(file).read_text()) | {"endpoint": endpoint}
    host = url.removeprefix("http://")
    if client == "triton":
        import tritonclient.grpc
        import tritonclient.http

        kinds = [{"binary_data": True}, {"binary_data": False}]
        with_triton(tritonclient.http, host, told, kinds, "triton http")
        with_triton(tritonclient.grpc, host, told, [{}], "triton grpc")
        with_triton_compressed(host, told)
    else:
        asyncio.run(with_kserve(url, told))
    failed = [what for good, what in checks if not good]
    print(f"{len(checks) - len(failed)} of {len(checks)} passed")
    return 1 if failed or not checks else 0


if __name__ == "__main__":
    sys.exit(main())
