"""Makes the models that measure_onnx.rs measures: make_large.py FOLDER."""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(0)


def network(width, depth):
    nodes, weights, last = [], [], "x"
    for i in range(depth):
        w = (random.standard_normal((width, width)) / width**0.5).astype(np.float32)
        weights += [numpy_helper.from_array(w, f"w{i}")]
        nodes += [h.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]), h.make_node("Relu", [f"m{i}"], [f"r{i}"])]
        last = f"r{i}"
    io = [h.make_tensor_value_info(n, T.FLOAT, ["n", width]) for n in ("x", last)]
    graph = h.make_graph(nodes, "network", io[:1], io[1:], weights)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    model.ir_version = 8
    return model


onnx.save(network(1800, 8), folder / "network.onnx")
(folder / "network-external").mkdir(exist_ok=True)
onnx.save(network(1800, 8), folder / "network-external/model.onnx", save_as_external_data=True, location="weights.bin")
x = random.standard_normal((5000, 30)).astype(np.float32)
y = (x[:, 0] + x[:, 1] * x[:, 2] + random.standard_normal(5000) > 0).astype(int)
for name, model in {"small": LogisticRegression(), "forest": RandomForestClassifier(300, random_state=0)}.items():
    made = to_onnx(model.fit(x, y), x[:1], options={"zipmap": False})
    (folder / f"{name}.onnx").write_bytes(made.SerializeToString())
