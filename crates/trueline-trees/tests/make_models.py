"""Trains small deterministic models with the real XGBoost and writes what it scores, for xgboost_identity.rs.

    python make_models.py DIR            models, rows and scores for the test
    python make_models.py --bench DIR    one larger model and the library's own speed on one thread
    python make_models.py --fixtures DIR the tiny models under tests/fixtures, for hostile_files.rs

For each case NAME: NAME.json and NAME.ubj (the model), NAME.rows.f32 (row-major, little-endian), and for each
iteration range NAME.BEGIN-END.margin.f32 and .value.f32; cases.json lists them with their shapes. Besides the cases with
names, there are TRUELINE_GENERATED_MODELS models (300 by default) of random parameters, with TRUELINE_GENERATED_SEED for
a seed.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import xgboost as xgb

ROWS = 5000
COLUMNS = 12
F32 = np.float32


def training_rows(rng, rows=1500, columns=COLUMNS, missing=0.15):
    x = rng.normal(size=(rows, columns)).astype(F32)
    x[:, 1] = np.round(x[:, 1] * 4)  # few distinct values, hence ties with split conditions
    x[:, 2] *= F32(1e-39)  # denormals
    x[:, 3] *= F32(1e30)
    x[rng.random(x.shape) < missing] = np.nan
    return x


def signal(x):
    z = np.nan_to_num(x, nan=0.3)
    return z[:, 0] + np.sin(z[:, 1]) + z[:, 4] * z[:, 5] + (z[:, 2] > 0) + 0.5 * (z[:, 3] > 1e29)


def all_trees(booster):
    learner = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    return learner.get("gbtree", learner)["model"]["trees"]


def hostile_rows(rng, booster, categories, rows=ROWS):
    """Rows like the training data, then peppered with everything that a comparison can stumble over."""
    columns = booster.num_features()
    x = np.resize(training_rows(rng, rows, max(columns, COLUMNS)), (rows, max(columns, COLUMNS)))[:, :columns].copy()
    pool = {c: [] for c in range(columns)}
    for tree in all_trees(booster):
        for left, feature, condition in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"]):
            if left != -1:
                pool[feature].append(condition)
    tiny = np.finfo(F32).smallest_subnormal
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 3.4e38, -3.4e38, 1e-40], dtype=F32)
    for column in range(columns):
        if column in categories:
            x[:, column] = rng.integers(0, categories[column], size=rows)
            odd = np.array([-1, -0.5, -0.0, 0.5, 2.7, 1e6, 16777215, 16777216, 3e9, np.inf, -np.inf, np.nan, categories[column], categories[column] + 40], dtype=F32)
            pick = rng.random(rows) < 0.2
            x[pick, column] = rng.choice(odd, size=pick.sum())
            continue
        if pool[column]:
            exact = np.array(pool[column], dtype=F32)
            near = np.concatenate([exact, np.nextafter(exact, F32(np.inf)), np.nextafter(exact, F32(-np.inf))])
            pick = rng.random(rows) < 0.4
            x[pick, column] = rng.choice(near, size=pick.sum())
        pick = rng.random(rows) < 0.1
        x[pick, column] = rng.choice(special, size=pick.sum())
    x[0], x[1], x[2], x[3] = np.nan, np.inf, -np.inf, 0.0
    # Whole blocks without missing values take another path, in the library and here.
    dense = x[rows // 2 : rows // 2 + 640]
    dense[np.isnan(dense)] = F32(0.25)
    return np.ascontiguousarray(x, dtype=F32)


class Writer:
    def __init__(self, directory):
        self.directory = directory
        self.cases = []

    def write(self, name, booster, rng, categories=None, ranges=((0, 0),), rows=ROWS):
        booster.save_model(self.directory / f"{name}.json")
        booster.save_model(self.directory / f"{name}.ubj")
        # Scored from the file, as a server would.
        booster = xgb.Booster({"nthread": 1}, model_file=self.directory / f"{name}.ubj")
        x = hostile_rows(rng, booster, categories or {}, rows)
        x.astype("<f4").tofile(self.directory / f"{name}.rows.f32")
        widths = {}
        for begin, end in ranges:
            for kind in ("margin", "value"):
                scores = booster.inplace_predict(x, iteration_range=(begin, end), predict_type=kind)
                assert scores.dtype == F32, scores.dtype
                widths[kind] = scores.size // rows
                scores.astype("<f4").tofile(self.directory / f"{name}.{begin}-{end}.{kind}.f32")
        best = booster.attr("best_iteration")
        self.cases.append({
            "name": name, "rows": rows, "columns": booster.num_features(), "ranges": [list(r) for r in ranges],
            "margin_width": widths["margin"], "value_width": widths["value"],
            "iterations": booster.num_boosted_rounds(), "best_iteration": None if best is None else int(best),
            "feature_names": booster.feature_names, "feature_types": booster.feature_types,
        })


def train(params, x, y, rounds=30, **kwargs):
    dtrain = xgb.DMatrix(x, y, **kwargs)
    return xgb.train({"nthread": 1, "seed": 7, "verbosity": 0, **params}, dtrain, rounds)


def numeric_cases(out):
    rng = np.random.default_rng(1)
    x = training_rows(rng)
    s = signal(x)
    binary = (s > np.median(s)).astype(F32)
    three = np.digitize(s, np.quantile(s, [0.4, 0.8])).astype(F32)
    positive = np.exp(s / 3).astype(F32)
    count = rng.poisson(positive).astype(F32)
    dense = np.nan_to_num(x, nan=0.5)
    names = [f"fé \"{i}\"" for i in range(COLUMNS)]

    logistic = {"objective": "binary:logistic"}
    out.write("binary", train({**logistic, "max_depth": 6}, x, binary, 60), rng, ranges=((0, 0), (0, 10), (5, 12), (7, 0), (3, 3)))
    out.write("binary_dense", train({**logistic, "max_depth": 4}, dense, binary, feature_names=names, feature_types=["float"] * 11 + ["int"]), rng)
    out.write("binary_stump", train({**logistic, "max_depth": 1}, x, binary, 200), rng)
    out.write("binary_deep", train({**logistic, "max_depth": 0, "grow_policy": "lossguide", "max_leaves": 200, "min_child_weight": 0, "tree_method": "hist"}, x, binary, 20), rng)
    out.write("binary_pruned", train({**logistic, "max_depth": 9, "gamma": 2, "tree_method": "exact"}, x, binary, 20), rng)
    out.write("binary_intercept", train({**logistic, "base_score": 0.9}, x, binary), rng)
    out.write("binary_one_class", train(logistic, x, np.zeros(len(x)), 3), rng, rows=200)
    out.write("logitraw", train({"objective": "binary:logitraw"}, x, binary), rng)
    out.write("hinge", train({"objective": "binary:hinge"}, x, binary), rng)
    out.write("softprob", train({"objective": "multi:softprob", "num_class": 3}, x, three), rng, ranges=((0, 0), (2, 9)))
    out.write("softmax", train({"objective": "multi:softmax", "num_class": 3}, x, three), rng)
    out.write("softprob_intercept", train({"objective": "multi:softprob", "num_class": 3, "base_score": [0.5, -1.25, 3]}, x, three), rng)
    out.write("squarederror", train({"objective": "reg:squarederror", "max_depth": 8}, x, s, 80), rng)
    out.write("squarederror_parallel", train({"objective": "reg:squarederror", "num_parallel_tree": 4, "subsample": 0.6, "colsample_bynode": 0.6}, x, s, 12), rng, ranges=((0, 0), (3, 8)))
    out.write("softprob_parallel", train({"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 3, "subsample": 0.6}, x, three, 6), rng, ranges=((0, 0), (1, 4)))
    for name, objective, y in [
        ("squaredlogerror", "reg:squaredlogerror", positive), ("pseudohuber", "reg:pseudohubererror", s), ("absoluteerror", "reg:absoluteerror", s),
        ("logistic", "reg:logistic", 1 / (1 + np.exp(-s))), ("gamma", "reg:gamma", positive), ("tweedie", "reg:tweedie", count), ("poisson", "count:poisson", count),
    ]:
        out.write(name, train({"objective": objective}, x, y), rng, rows=3000)
    out.write("quantile", train({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}, x, s), rng, rows=3000)
    out.write("two_targets", train({"objective": "reg:squarederror"}, x, np.stack([s, -2 * s + 1], axis=1)), rng, rows=3000)
    out.write("rank", train({"objective": "rank:ndcg"}, x, three, qid=np.arange(len(x)) // 25), rng, rows=3000)
    out.write("constant", train({"objective": "reg:squarederror", "gamma": 1e9}, x, s, 3), rng, rows=200)


def extreme_cases(out):
    """Margins far outside what training gives, where exp overflows and the links are clamped."""
    rng = np.random.default_rng(8)
    x = training_rows(rng)
    s = signal(x)
    for name, params, y in [
        ("extreme_binary", {"objective": "binary:logistic"}, s > 0.5),
        ("extreme_poisson", {"objective": "count:poisson"}, rng.poisson(np.exp(s / 3))),
        ("extreme_softprob", {"objective": "multi:softprob", "num_class": 3}, np.digitize(s, [0, 1])),
    ]:
        model = json.loads(train(params, x, y, 20).save_raw("json"))
        for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
            scaled = [c if left != -1 else c * 60 for left, c in zip(tree["left_children"], tree["split_conditions"])]
            tree["split_conditions"] = scaled
        out.write(name, xgb.Booster(model_file=bytearray(json.dumps(model), "utf-8")), rng, rows=3000)


def dart_cases(out):
    rng = np.random.default_rng(2)
    x = training_rows(rng)
    s = signal(x)
    dart = {"booster": "dart", "rate_drop": 0.3, "sample_type": "weighted"}
    out.write("dart_binary", train({**dart, "objective": "binary:logistic"}, x, (s > 0.5).astype(F32), 25), rng, ranges=((0, 0), (0, 9), (4, 20)))
    out.write("dart_softprob", train({**dart, "objective": "multi:softprob", "num_class": 3, "normalize_type": "forest"}, x, np.digitize(s, [0, 1]), 15), rng)
    out.write("dart_regression", train({**dart, "objective": "reg:squarederror", "base_score": 123.456}, x, s, 25), rng)


def categorical_cases(out):
    import pandas as pd

    rng = np.random.default_rng(3)
    x = training_rows(rng, 3000, 6)
    small, large = rng.integers(0, 5, size=3000), rng.integers(0, 70, size=3000)
    s = signal(x) + (small % 3) + np.sin(large)
    x[:, 0], x[:, 4] = small, large
    x[rng.random(3000) < 0.1, 0] = np.nan
    x[rng.random(3000) < 0.1, 4] = np.nan
    types = ["c", "q", "q", "q", "c", "q"]
    for name, threshold in [("categories_onehot", 100), ("categories_partition", 1), ("categories_mixed", 10)]:
        params = {"objective": "reg:squarederror", "tree_method": "hist", "max_cat_to_onehot": threshold, "max_depth": 6}
        out.write(name, train(params, x, s, 30, feature_types=types, enable_categorical=True), rng, {0: 5, 4: 70})

    sparse = x.copy()  # codes so far apart that a bit set would be mostly empty
    sparse[:, 4] = sparse[:, 4] * 40_000
    params = {"objective": "binary:logistic", "tree_method": "approx", "max_cat_to_onehot": 2}
    few = (sparse[:, 4] < 5 * 40_000) | np.isnan(sparse[:, 4])
    out.write("categories_spread", train(params, sparse[few], (s[few] > 1), 3, feature_types=types, enable_categorical=True), rng, {0: 5, 4: 200_000}, rows=500)

    frame = pd.DataFrame({
        "amount": x[:, 1], "colour": pd.Categorical.from_codes(small, ["rot", "yé", "blau", "z", "weiß"]),
        "shop": pd.Categorical.from_codes(large, list(range(100, 170))), "n": rng.integers(0, 9, size=3000),
    })
    out.write("frame", train({"objective": "reg:squarederror"}, frame, s, 20, enable_categorical=True), rng, {1: 5, 2: 70})


def multi_output_cases(out):
    """Trees whose leaves hold a vector."""
    rng = np.random.default_rng(9)
    x = training_rows(rng)
    s = signal(x)
    vector = {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
    y = np.stack([s, 1 - 2 * s, np.sin(s)], axis=1)
    out.write("vector_regression", train({**vector, "objective": "reg:squarederror"}, x, y), rng, ranges=((0, 0), (0, 10), (5, 12), (7, 0)))
    out.write("vector_logistic", train({**vector, "objective": "binary:logistic"}, x, (y > 0.4).astype(F32)), rng, rows=3000)
    out.write("vector_softprob", train({**vector, "objective": "multi:softprob", "num_class": 3}, x, np.digitize(s, [0, 1])), rng, rows=3000)
    out.write("vector_softmax", train({**vector, "objective": "multi:softmax", "num_class": 5}, x, np.digitize(s, [-1, 0, 1, 2])), rng, rows=3000)
    out.write("vector_quantile", train({**vector, "objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5]}, x, s), rng, rows=3000)
    out.write("vector_parallel", train({**vector, "objective": "reg:squarederror", "num_parallel_tree": 3, "subsample": 0.6}, x, y, 8), rng, ranges=((0, 0), (2, 5)))
    out.write("vector_dense", train({**vector, "objective": "reg:squarederror", "max_depth": 9}, np.nan_to_num(x, nan=0.5), y), rng, rows=3000)
    out.write("vector_constant", train({**vector, "objective": "reg:squarederror", "gamma": 1e9}, x, y, 3), rng, rows=200)


def early_stopped_case(out):
    rng = np.random.default_rng(4)
    x = training_rows(rng)
    y = (signal(x) + rng.normal(size=len(x)) * 2 > 0.5).astype(F32)
    booster = xgb.train(
        {"objective": "binary:logistic", "nthread": 1, "max_depth": 6, "eta": 0.5}, xgb.DMatrix(x[:1000], y[:1000]), 100,
        evals=[(xgb.DMatrix(x[1000:], y[1000:]), "held_out")], early_stopping_rounds=5, verbose_eval=False,
    )
    best = booster.best_iteration
    assert best + 1 < booster.num_boosted_rounds()
    out.write("early_stopped", booster, rng, ranges=((0, 0), (0, best + 1)))


def many_features_case(out):
    """More features than the small node of the scorer can hold."""
    rng = np.random.default_rng(5)
    x = np.zeros((300, 20_000), dtype=F32)
    x[:, [3, 17_000, 19_999]] = rng.normal(size=(300, 3))
    y = x[:, 17_000] - x[:, 19_999] * x[:, 3]
    out.write("many_features", train({"objective": "reg:squarederror", "tree_method": "exact", "max_depth": 4}, x, y, 4), rng, rows=70)


def generated_cases(out, count, seed):
    rng = np.random.default_rng(seed)
    objectives = ["reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror", "reg:logistic", "reg:gamma", "reg:tweedie", "count:poisson", "binary:logistic", "binary:logitraw", "binary:hinge", "multi:softprob", "multi:softmax", "rank:ndcg", "rank:map", "rank:pairwise"]
    pick = lambda *values: values[rng.integers(len(values))]
    number = 0
    while number < count:
        columns = int(rng.integers(6, COLUMNS + 1))
        objective, method = pick(*objectives, "binary:logistic", "multi:softprob"), pick("hist", "hist", "approx", "exact")
        classes, rows = int(rng.integers(3, 6)), 300
        x = training_rows(rng, rows, columns, pick(0.0, 0.1, 0.4))
        s = signal(x) + rng.normal(size=rows) * 0.3
        categories = {c: int(pick(4, 9, 70)) for c in (0, 4) if rng.random() < 0.3 and method != "exact"}
        for column, most in categories.items():
            x[:, column] = np.floor(most * rng.random(rows) ** 2)
        params = {
            "objective": objective, "tree_method": method, "max_depth": int(rng.integers(1, 8)), "eta": pick(0.1, 0.3, 1.0),
            "min_child_weight": pick(0, 1, 5), "gamma": pick(0, 0, 0.5), "lambda": pick(1, 0.1), "alpha": pick(0, 0.5),
            "subsample": pick(1, 0.7), "colsample_bynode": pick(1, 0.6), "num_parallel_tree": pick(1, 1, 3),
            "max_cat_to_onehot": pick(1, 4, 100), "seed": int(rng.integers(1 << 30)),
        }
        if method == "hist" and rng.random() < 0.3:
            params.update(grow_policy="lossguide", max_leaves=int(rng.integers(2, 40)), max_depth=0)
        if rng.random() < 0.3:
            params.update(booster="dart", rate_drop=pick(0.1, 0.5), normalize_type=pick("tree", "forest"), num_parallel_tree=1)
        elif method == "hist" and rng.random() < 0.3:
            params["multi_strategy"] = "multi_output_tree"
        kwargs, link = {}, objective.split(":")[-1]
        if objective.startswith("multi"):
            params["num_class"], y = classes, np.searchsorted(np.quantile(s, np.arange(1, classes) / classes), s)
        elif objective.startswith("rank"):
            kwargs["qid"], y = np.arange(rows) // 25, (s > np.median(s)).astype(F32)
        elif objective.startswith("binary"):
            y = (s > np.median(s)).astype(F32)
        elif link == "quantileerror":
            params["quantile_alpha"], y = [0.1, 0.5, 0.9][: int(rng.integers(1, 4))], s
        elif link in ("poisson", "tweedie"):
            y = rng.poisson(np.exp(np.clip(s, -4, 4) / 3))
        elif link in ("gamma", "squaredlogerror"):
            y = np.exp(np.clip(s, -9, 9) / 3)
        elif link == "logistic":
            y = 1 / (1 + np.exp(-s))
        else:
            y = np.stack([s, 1 - 2 * s], axis=1) if rng.random() < 0.3 else s
        if rng.random() < 0.3 and link != "squaredlogerror":
            params["base_score"] = float(rng.random() * 0.9 + 0.05)
        types = ["c" if c in categories else "q" for c in range(columns)]
        rounds = int(rng.integers(1, 12))
        try:
            booster = train(params, x, y, rounds, feature_types=types, enable_categorical=True, **kwargs)
        except xgb.core.XGBoostError:  # some combinations the library itself refuses
            continue
        ranges = [(0, 0)]
        if rounds > 1:
            begin = int(rng.integers(0, rounds - 1))
            ranges.append((begin, int(rng.integers(begin + 1, rounds + 1))))
        out.write(f"generated_{number}", booster, rng, categories, ranges, rows=60)
        number += 1


def bench(directory):
    rng = np.random.default_rng(6)
    columns = 30
    x = rng.normal(size=(20_000, columns)).astype(F32)
    y = (x[:, :15].sum(axis=1) + x[:, 15] * x[:, 16] * 3 + rng.normal(size=len(x)) > 0).astype(F32)
    booster = train({"objective": "binary:logistic", "max_depth": 6, "min_child_weight": 0, "eta": 0.1}, x, y, 200)
    leaves = [sum(left == -1 for left in tree["left_children"]) for tree in all_trees(booster)]
    booster.save_model(directory / "bench.ubj")
    booster.save_model(directory / "bench.json")
    rows = rng.normal(size=(100_000, columns)).astype(F32)
    gaps = rows.copy()
    gaps[rng.random(rows.shape) < 0.1] = np.nan
    rows.astype("<f4").tofile(directory / "bench.rows.f32")
    gaps.astype("<f4").tofile(directory / "bench.gaps.f32")
    print(f"library {xgb.__version__}, one thread, {len(leaves)} trees, {np.mean(leaves):.0f} leaves each, {columns} columns")
    for name, data in [("dense", rows), ("10% missing", gaps)]:
        for size in [1, 64, 1000, 100_000]:
            part = np.ascontiguousarray(data[:size])
            best = min(timed(booster, part, max(1, 2000 // size)) for _ in range(5))
            print(f"  {name:12} {size:7} rows  {best / size * 1e6:9.3f} us/row")


def timed(booster, rows, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        booster.inplace_predict(rows)
    return (time.perf_counter() - start) / repeats


def fixtures(directory):
    import pandas as pd

    rng = np.random.default_rng(7)
    colours = pd.Categorical.from_codes(rng.integers(0, 4, size=200), ["red", "green", "blue", "yellow"])
    frame = pd.DataFrame({"amount": rng.normal(size=200).astype(F32), "colour": colours, "n": rng.integers(0, 9, size=200)})
    y = frame["amount"] + colours.codes % 2 + frame["n"] / 9
    categories = train({"objective": "binary:logistic", "max_depth": 3, "max_cat_to_onehot": 1}, frame, y > 1, 2, enable_categorical=True)
    dart = {"booster": "dart", "rate_drop": 0.5, "objective": "multi:softprob", "num_class": 3, "max_depth": 2}
    dart = train(dart, frame[["amount", "n"]], np.digitize(y, [0.5, 1.5]), 3)
    for name, booster in [("categories", categories), ("dart", dart)]:
        booster.set_attr(best_iteration="1")
        booster.save_model(directory / f"{name}.json")
        booster.save_model(directory / f"{name}.ubj")


def main():
    directory = Path(sys.argv[-1])
    if sys.argv[1] == "--fixtures":
        fixtures(directory)
        return
    if sys.argv[1] == "--bench":
        bench(directory)
        return
    out = Writer(directory)
    numeric_cases(out)
    extreme_cases(out)
    dart_cases(out)
    categorical_cases(out)
    multi_output_cases(out)
    early_stopped_case(out)
    many_features_case(out)
    generated_cases(out, int(os.environ.get("TRUELINE_GENERATED_MODELS", 300)), int(os.environ.get("TRUELINE_GENERATED_SEED", 0)))
    (directory / "cases.json").write_text(json.dumps({"xgboost": xgb.__version__, "cases": out.cases}))


if __name__ == "__main__":
    main()
