"""Makes ONNX models with real exporters, and asks Python's onnxruntime what they answer.

    make_models.py FOLDER

writes FOLDER/cases.json: for each case a model's file, what is given, and what came out. Numbers are in hexadecimal, byte for byte
as numpy has them, so that nothing is lost on the way. `refused` are models that must not be loaded; `loaded` further ones.
"""

import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

RANDOM = np.random.default_rng(7)
NAMES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float32": "FP32", "float64": "FP64", "object": "TEXT",
}  # fmt: skip


def tensor(name, array):
    """A tensor for cases.json. Types that a tensor of the house has not are widened, which is exact."""
    array = np.asarray(array)
    if array.dtype in (np.float16, ml_dtypes.bfloat16):
        array = array.astype(np.float32)
    if array.dtype.kind in "US":
        array = array.astype(object)
    shape = list(array.shape) or [1]
    told = {"name": name, "shape": shape, "type": NAMES[array.dtype.name]}
    if array.dtype == object:
        return told | {"texts": [str(v) for v in array.ravel()]}
    return told | {"hex": np.ascontiguousarray(array).tobytes().hex()}


class Cases:
    def __init__(self, folder):
        self.folder, self.cases, self.refused, self.loaded = folder, [], [], []

    def save(self, name, model):
        file = f"{name}.onnx"
        (self.folder / file).write_bytes(model.SerializeToString())
        return file

    def add(self, name, model, *feeds, file=None, given=None):
        """`given` is what the house is given where that is of another type than the library takes."""
        file = file or self.save(name, model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(self.folder / file, options, providers=["CPUExecutionProvider"])
        outputs = [o.name for o in session.get_outputs()]
        for i, feed in enumerate(feeds):
            inputs = [tensor(n, v) for n, v in (given[i] if given else feed).items()]
            answers, classes, fails = [], {}, False
            try:
                given_out = session.run(outputs, feed)
            except Exception as error:  # some models have no answer for no rows
                if all(np.shape(v)[:1] != (0,) for v in feed.values()):
                    raise RuntimeError(name) from error
                given_out, fails = [], True
            for output, value in zip(outputs, given_out, strict=not fails):
                if isinstance(value, list):  # of dictionaries
                    keys = list(value[0]) if value else []
                    classes[output] = keys
                    value = np.array([[row[k] for k in keys] for row in value], dtype=np.float32)
                answers.append(tensor(output, value))
            case = {"name": f"{name} {i}", "file": file, "inputs": inputs, "outputs": answers, "classes": classes}
            case["fails"] = fails
            self.cases.append(case)

    def refuse(self, name, model, why):
        self.refused.append({"file": self.save(name, model), "why": why})


def model_of(nodes, inputs, outputs, initializers=(), opset=17, ir=8, **more):
    graph = h.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], producer_name="hand", **more)
    model.ir_version = ir
    return model


def value(name, kind, shape):
    return h.make_tensor_value_info(name, kind, shape)


def array(name, values):
    return numpy_helper.from_array(values, name)


def sklearn_models(cases):
    iris = load_iris()
    x, y = iris.data.astype(np.float32), iris.target
    words = np.array(["setosa", "versicolor", "virginica"])[y]
    diabetes = load_diabetes()
    dx, dy = diabetes.data.astype(np.float32), diabetes.target
    rows = [x[:1], x[::7], x, x[:0]]
    feeds = [{"X": r} for r in rows]
    classifiers = {
        "logistic": LogisticRegression(max_iter=500),
        "forest": RandomForestClassifier(40, random_state=1),
        "boosting": GradientBoostingClassifier(n_estimators=20, random_state=1),
        "mlp": make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(16, 8), max_iter=300, random_state=1)),
    }
    for name, classifier in classifiers.items():
        for labels, target in {"ints": y, "words": words}.items():
            fitted = classifier.fit(x, target)
            options = {"zipmap": False}
            cases.add(f"{name}-{labels}", to_onnx(fitted, x[:1], options=options), *feeds)
            # Without rows there is no dictionary to tell the classes.
            cases.add(f"{name}-{labels}-zipmap", to_onnx(fitted, x[:1]), *feeds[:3])
    regressors = {
        "linear": LinearRegression(),
        "forest-regressor": RandomForestRegressor(40, random_state=1),
        "boosting-regressor": GradientBoostingRegressor(n_estimators=20, random_state=1),
        "mlp-regressor": make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=300, random_state=1)),
    }
    for name, regressor in regressors.items():
        model = to_onnx(regressor.fit(dx, dy), dx[:1])
        cases.add(name, model, *({"X": r} for r in (dx[:1], dx[::5], dx[:0])))
    wide = dx.astype(np.float64) * 1.0000001  # float64, as JSON brings it
    narrow = [{"X": wide.astype(np.float32)}]
    cases.add("linear-of-doubles", to_onnx(LinearRegression().fit(dx, dy), dx[:1]), *narrow, given=[{"X": wide}])


def pipelines(cases):
    texts = np.array(["the quick brown fox", "lazy dogs sleep", "quick quick dogs", "ein müder Hund", "", "fox"])
    spam = np.array([0, 1, 1, 0, 1, 0])
    # A pattern of its own, since the converter knows few.
    words = TfidfVectorizer(token_pattern="[a-zA-Z]+", lowercase=False)
    pipeline = make_pipeline(words, LogisticRegression()).fit(texts, spam)
    inputs = [("text", StringTensorType([None, 1]))]
    model = to_onnx(pipeline, initial_types=inputs, options={"zipmap": False})
    cases.add("text", model, {"text": texts.reshape(-1, 1).astype(object)})
    cases.add("text-zipmap", to_onnx(pipeline, initial_types=inputs), {"text": texts[:2].reshape(-1, 1).astype(object)})

    import pandas

    table = pandas.DataFrame({
        "age": np.arange(12, dtype=np.float32) * 3 + 20,
        "income": np.linspace(1e3, 9e3, 12, dtype=np.float32),
        "town": ["Ulm", "Bonn", "Köln"] * 4,
    })
    towns = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("n", StandardScaler(), ["age", "income"]), ("c", towns, ["town"])])
    pipeline = make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 1] * 4)
    kinds = [("age", FloatTensorType([None, 1])), ("income", FloatTensorType([None, 1])), ("town", StringTensorType([None, 1]))]
    feed = {c: table[c].to_numpy().reshape(-1, 1) for c in table}
    flat = {c: table[c].to_numpy() for c in table}
    for name, given in {"columns": feed, "columns-of-a-table": flat}.items():
        cases.add(name, to_onnx(pipeline, initial_types=kinds, options={"zipmap": False}), feed, given=[given])


def dense(width, depth, scale=0.05):
    """A network whose weights are large enough to be shared."""
    nodes, weights, last = [], [], "x"
    for i in range(depth):
        weights += [array(f"w{i}", (RANDOM.standard_normal((width, width)) * scale).astype(np.float32))]
        weights += [array(f"b{i}", RANDOM.standard_normal(width).astype(np.float32))]
        kind = ["Gemm", "MatMul"][i % 2]
        if kind == "Gemm":
            nodes.append(h.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"g{i}"], transB=i % 4 // 2))
        else:
            nodes.append(h.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]))
            nodes.append(h.make_node("Add", [f"m{i}", f"b{i}"], [f"g{i}"]))
        nodes.append(h.make_node("Relu", [f"g{i}"], [f"r{i}"]))
        last = f"r{i}"
    io = [value("x", T.FLOAT, ["batch", width])], [value(last, T.FLOAT, ["batch", width])]
    return model_of(nodes, *io, weights)


def networks(cases):
    feeds = [{"x": RANDOM.standard_normal((n, 384)).astype(np.float32)} for n in (1, 3, 33, 0)]
    model = dense(384, 4)
    cases.add("dense", model, *feeds)
    for where in ("one", "each"):
        name = f"dense-external-{where}"
        (cases.folder / name).mkdir()
        onnx.save(
            model, cases.folder / name / "model.onnx", save_as_external_data=True, size_threshold=100,
            location="weights.bin", all_tensors_to_one_file=where == "one",
        )  # fmt: skip
        model = dense(384, 4)
        cases.add(name, model, feeds[1] if where == "each" else feeds[0], file=f"{name}/model.onnx")

    # Convolutions that the library fuses with what follows them, and with weights that it lays out anew.
    w = lambda *shape: (RANDOM.standard_normal(shape) * 0.1).astype(np.float32)  # noqa: E731
    weights = [array("w0", w(256, 3, 3, 3)), array("w1", w(256, 256, 3, 3)), array("w2", w(10, 256))]
    weights += [array(n, abs(w(256)) + 0.5) for n in ("scale", "bias", "mean", "var")]
    nodes = [
        h.make_node("Conv", ["x", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        h.make_node("BatchNormalization", ["c0", "scale", "bias", "mean", "var"], ["n0"]),
        h.make_node("Relu", ["n0"], ["r0"]),
        h.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        h.make_node("Relu", ["c1"], ["r1"]),
        h.make_node("GlobalAveragePool", ["r1"], ["p"]),
        h.make_node("Flatten", ["p"], ["f"]),
        h.make_node("Gemm", ["f", "w2"], ["logits"], transB=1),
        h.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    io = [value("x", T.FLOAT, ["batch", 3, "height", "width"])], [value("probabilities", T.FLOAT, ["batch", 10])]
    pictures = [{"x": RANDOM.random((n, 3, s, s), dtype=np.float32)} for n, s in ((1, 16), (2, 9))]
    cases.add("convolutions", model_of(nodes, *io, weights), *pictures)

    # A language model's shape: an embedding, a recurrent layer, a weight that is transposed by a node of its own.
    weights = [array("table", w(2000, 160)), array("wx", w(1, 512, 160)), array("wr", w(1, 512, 128)), array("out", w(2000, 128))]
    nodes = [
        h.make_node("Gather", ["table", "tokens"], ["e"]),
        h.make_node("Transpose", ["e"], ["t"], perm=[1, 0, 2]),
        h.make_node("LSTM", ["t", "wx", "wr"], ["", "last"], hidden_size=128),
        h.make_node("Squeeze", ["last", "zero"], ["s"]),
        h.make_node("Transpose", ["out"], ["outT"], perm=[1, 0]),
        h.make_node("MatMul", ["s", "outT"], ["logits"]),
    ]
    io = [value("tokens", T.INT64, ["batch", "sequence"])], [value("logits", T.FLOAT, ["batch", 2000])]
    tokens = [{"tokens": RANDOM.integers(0, 2000, (n, s))} for n, s in ((1, 5), (4, 12))]
    cases.add("recurrent", model_of(nodes, *io, [*weights, array("zero", np.array([0]))]), *tokens)


def halves(cases):
    """16-bit floats: the library is given what numpy made of floats, the house the floats."""
    wide = np.array([[1.0, -2.5, 65504.0, 1e-8], [0.1, 3e38, np.nan, -np.inf], [2049.0, 2051.0, 1.0009765625000002, 0.3]])
    for name, kind, dtype, opset in (("fp16", T.FLOAT16, np.float16, 17), ("bf16", T.BFLOAT16, ml_dtypes.bfloat16, 17)):
        # The library computes little in bfloat16, but passes it through; numpy's onnxruntime takes it not at all.
        nodes = [h.make_node("Identity", ["x"], ["y"])]
        if kind == T.FLOAT16:
            nodes.append(h.make_node("Add", ["x", "x"], ["sum"]))
        outputs = [value(n, kind, ["n", 4]) for n in (["y", "sum"] if kind == T.FLOAT16 else ["y"])]
        model = model_of(nodes, [value("x", kind, ["n", 4])], outputs, opset=opset)
        with np.errstate(all="ignore"):
            narrow = wide.astype(dtype)
        if kind == T.FLOAT16:
            cases.add(name, model, {"x": narrow}, {"x": wide.astype(np.float32).astype(dtype)},
                      given=[{"x": wide}, {"x": wide.astype(np.float32)}])  # fmt: skip
        else:
            file = cases.save(name, model)
            answer = {"name": f"{name} 0", "file": file, "inputs": [tensor("x", wide)], "outputs": [tensor("y", narrow)]}
            cases.cases.append(answer | {"classes": {}, "fails": False})


def shapes_and_types(cases):
    kinds = [T.BOOL, T.UINT8, T.UINT16, T.UINT32, T.UINT64, T.INT8, T.INT16, T.INT32, T.INT64, T.FLOAT, T.DOUBLE, T.STRING]
    inputs, outputs, nodes, feed = [], [], [], {}
    for kind in kinds:
        name = T.DataType.Name(kind).lower()
        dtype = h.tensor_dtype_to_np_dtype(kind)
        inputs.append(value(name, kind, ["n"]))
        outputs.append(value(f"{name}_out", kind, ["n"]))
        nodes.append(h.make_node("Identity", [name], [f"{name}_out"]))
        values = np.array(["", "ä", "x" * 300], dtype=object) if kind == T.STRING else np.array([0, 1, 100]).astype(dtype)
        feed[name] = values
    cases.add("types", model_of(nodes, inputs, outputs), feed)

    axes = [value("a", T.FLOAT, ["batch", "length", 2]), value("b", T.FLOAT, ["batch", 1, 2])]
    nodes = [h.make_node("Add", ["a", "b"], ["sum"]), h.make_node("ReduceSum", ["sum"], ["total"], keepdims=0)]
    outs = [value("sum", T.FLOAT, ["batch", "length", 2]), value("total", T.FLOAT, [])]
    made = lambda *s: RANDOM.random(s, dtype=np.float32)  # noqa: E731
    feeds = [{"a": made(n, k, 2), "b": made(n, 1, 2)} for n, k in ((1, 1), (3, 5), (0, 4), (2, 0))]
    cases.add("axes", model_of(nodes, axes, outs), *feeds)

    unranked = model_of([h.make_node("Abs", ["x"], ["y"])], [value("x", T.FLOAT, None)], [value("y", T.FLOAT, None)])
    cases.add("unranked", unranked, {"x": made(2)}, {"x": made(2, 3, 4)})
    scalar = model_of([h.make_node("Abs", ["x"], ["y"])], [value("x", T.FLOAT, [])], [value("y", T.FLOAT, [])])
    cases.add("scalar", scalar, {"x": np.array(-3, dtype=np.float32)})
    # An output that is an input, and one that is a constant.
    passed = model_of(
        [h.make_node("Abs", ["x"], ["y"])], [value("x", T.FLOAT, ["n"])],
        [value("x", T.FLOAT, ["n"]), value("y", T.FLOAT, ["n"]), value("c", T.FLOAT, [3])], [array("c", made(3))],
    )  # fmt: skip
    wide = np.linspace(-1, 1, 1000)
    cases.add("passed", passed, {"x": wide.astype(np.float32)}, given=[{"x": wide}])
    for opset, ir in ((7, 3), (13, 7), (21, 10), (26, 13)):
        nodes = [h.make_node("Gemm", ["x", "w", "b"], ["y"])]
        weights = [array("w", made(4, 2)), array("b", made(2))]
        given = [value("x", T.FLOAT, ["n", 4])]
        if ir < 4:  # initializers had to be inputs then
            given += [value("w", T.FLOAT, [4, 2]), value("b", T.FLOAT, [2])]
        cases.add(f"opset-{opset}", model_of(nodes, given, [value("y", T.FLOAT, ["n", 2])], weights, opset, ir), {"x": made(3, 4)})

    # Long enough to be stopped: nodes one after the other, each of some milliseconds.
    square, last, nodes = made(512, 512), "x", []
    for i in range(400):
        nodes.append(h.make_node("MatMul", [last, "w"], [f"y{i}"]))
        last = f"y{i}"
    slow = model_of(nodes, [value("x", T.FLOAT, ["n", 512])], [value(last, T.FLOAT, ["n", 512])], [array("w", square / 256)])
    cases.loaded.append(cases.save("slow", slow))


def refused(cases):
    x = value("x", T.FLOAT, [2])
    sequence = h.make_tensor_sequence_value_info("s", T.FLOAT, [2])
    cases.refuse("sequence-out", model_of([h.make_node("SequenceConstruct", ["x"], ["s"])], [x], [sequence]), "Sequence")
    at = array("at", np.array(0))
    get = h.make_node("SequenceAt", ["s", "at"], ["y"])
    cases.refuse("sequence-in", model_of([get], [sequence], [value("y", T.FLOAT, [2])], [at]), "Sequence")
    kind = h.make_optional_type_proto(h.make_tensor_type_proto(T.FLOAT, [2]))
    optional = h.make_value_info("o", kind)
    has = h.make_node("OptionalHasElement", ["o"], ["y"])
    cases.refuse("optional-in", model_of([has], [optional], [value("y", T.BOOL, [])]), "Option")
    nested = h.make_value_info("s", h.make_sequence_type_proto(h.make_sequence_type_proto(h.make_tensor_type_proto(T.FLOAT, [2]))))
    cases.refuse("nested-sequence", model_of([h.make_node("Identity", ["s"], ["t"])], [nested], [
        h.make_value_info("t", nested.type)]), "")  # fmt: skip
    operator = h.make_node("Nonsense", ["x"], ["y"])
    cases.refuse("unknown-operator", model_of([operator], [x], [value("y", T.FLOAT, [2])]), "Nonsense")
    far = model_of([h.make_node("Abs", ["x"], ["y"])], [x], [value("y", T.FLOAT, [2])], opset=999)
    cases.refuse("opset-999", far, "opset")
    for name, place in {"escape": "../secret.bin", "absolute": "/etc/hostname", "absent": "gone.bin"}.items():
        weight = array("w", np.zeros(2, np.float32))
        weight.ClearField("raw_data")
        weight.data_location = T.EXTERNAL
        weight.external_data.add(key="location", value=place)
        add = [h.make_node("Add", ["x", "w"], ["y"])]
        cases.refuse(f"external-{name}", model_of(add, [x], [value("y", T.FLOAT, [2])], [weight]), place)
    # The same, hidden in a node.
    weight = array("w", np.zeros(2, np.float32))
    weight.ClearField("raw_data")
    weight.data_location = T.EXTERNAL
    weight.external_data.add(key="location", value="../secret.bin")
    nodes = [h.make_node("Constant", [], ["w"], value=weight), h.make_node("Add", ["x", "w"], ["y"])]
    cases.refuse("external-in-a-node", model_of(nodes, [x], [value("y", T.FLOAT, [2])]), "")
    (cases.folder.parent / "secret.bin").write_bytes(b"12345678")


def main():
    folder = Path(sys.argv[1])
    onnxruntime.set_default_logger_severity(4)
    cases = Cases(folder)
    for make in (sklearn_models, pipelines, networks, halves, shapes_and_types, refused):
        make(cases)
    told = {"onnxruntime": onnxruntime.__version__, "cases": cases.cases, "refused": cases.refused, "loaded": cases.loaded}
    (folder / "cases.json").write_text(json.dumps(told))


main()
