"""Trains small models with the real LightGBM and writes what it scores, for lightgbm_identity.rs.

    python make_lightgbm_models.py DIR             models, rows and scores for the test
    python make_lightgbm_models.py --bench DIR     one larger model and the library's own speed on one thread
    python make_lightgbm_models.py --fixtures DIR  the tiny models under tests/fixtures, for hostile_lightgbm_files.rs

For each case NAME: NAME.txt (the model), NAME.rows.f64 (row-major, little-endian), and for each iteration range
NAME.BEGIN-END.raw.f64 and .value.f64; cases.json lists them with their shapes. Besides the cases with names, there are
TRUELINE_GENERATED_MODELS models (1200 by default) of random parameters, with TRUELINE_GENERATED_SEED for a seed.
"""

import json
import os
import re
import sys
import time
import warnings
from pathlib import Path

import lightgbm as lgb
import numpy as np

warnings.filterwarnings("ignore")

COLUMNS = 10
CATEGORICAL = [0, 4]
ZERO = float(np.float32(1e-35))
QUIET = {"verbosity": -1, "num_threads": 1, "seed": 7, "deterministic": True, "force_col_wise": True}
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-40, -1e-40, 1e-35, -1e-35, 1e300, -1e300, 1.0, -1.0]
SPECIAL += [sign * float(x) for sign in (1, -1) for x in (ZERO, np.nextafter(ZERO, 1), np.nextafter(ZERO, 0))]
CODES = [np.nan, np.inf, -np.inf, -1.0, -0.5, -0.0, -1e-40, 0.9, 1.5, 31.0, 31.99, 32.0, 63.5, 64.0, 1e9, 2.0**31 - 1]
CODES += [2.0**31 - 0.5, 2.0**31, 2.0**32, 2.0**32 + 1, -(2.0**31), -(2.0**33) + 3, 1e300, 65535.0, 65536.0, 1e5]


def training_rows(rng, rows, columns=COLUMNS, missing=0.1, categorical=(), categories=6):
    x = rng.normal(size=(rows, columns))
    x[:, 1 % columns] = np.round(x[:, 1 % columns] * 3)  # few distinct values, zero among them
    x[:, 2 % columns] *= rng.random(rows) < 0.4  # mostly zero
    x[:, 3 % columns] *= 1e30
    x[:, 5 % columns] *= 1e-35  # around the zero band
    if columns > 8:
        x[:, 8] = 4.0  # constant: never split on
    for column in categorical:
        x[:, column] = np.floor(categories * rng.random(rows) ** 2)
    x[rng.random(x.shape) < missing] = np.nan
    return x


def signal(x):
    z = np.nan_to_num(x, nan=0.3)
    z = np.tile(z, (1, 7))
    return z[:, 0] + np.sin(z[:, 1]) + z[:, 2] * 2 + z[:, 4] * z[:, 6] + (z[:, 3] > 0) + 0.7 * (z[:, 5] > 1e-36) + (z[:, 4] % 3)


def labels(rng, objective, x, classes=3):
    s = signal(x) + rng.normal(size=len(x)) * 0.3
    if objective in ("binary", "cross_entropy", "cross_entropy_lambda"):
        return (s > np.median(s)).astype(float) if objective == "binary" else 1 / (1 + np.exp(-s))
    if objective in ("multiclass", "multiclassova", "lambdarank", "rank_xendcg"):
        return np.searchsorted(np.quantile(s, np.arange(1, classes) / classes), s)
    if objective in ("poisson", "tweedie"):
        return rng.poisson(np.exp(np.clip(s, -4, 4) / 3)).astype(float)
    if objective == "gamma":
        return np.exp(np.clip(s, -9, 9) / 3)
    return s


def train(params, x, y, rounds=20, dataset=None, **kwargs):
    if params.get("objective") in ("lambdarank", "rank_xendcg"):
        kwargs["group"] = [25] * (len(x) // 25)
    dataset = lgb.Dataset(x, y, **kwargs)
    return lgb.train({**QUIET, **params}, dataset, rounds)


def thresholds_of(text):
    """Per feature: thresholds of its numeric splits."""
    pool = {}
    for split, threshold, decision in zip(*(re.findall(rf"^{key}=(.*)$", text, re.M) for key in ("split_feature", "threshold", "decision_type"))):
        for feature, value, kind in zip(split.split(), threshold.split(), decision.split()):
            if not int(kind) & 1:
                pool.setdefault(int(feature), []).append(float(value))
    return pool


def hostile_rows(rng, text, columns, rows, categorical, categories=70):
    """Rows like the training data, then peppered with everything that a comparison can stumble over."""
    categorical = [c for c in categorical if c < columns]
    x = training_rows(rng, rows, columns, 0.1, categorical, categories)
    pool = thresholds_of(text)
    for column in range(columns) if columns < 1000 else sorted(pool):
        if column in categorical:
            pick = rng.random(rows) < 0.3
            x[pick, column] = rng.choice(CODES, size=pick.sum())
            pick = rng.random(rows) < 0.05
            x[pick, column] += rng.choice([-0.3, 0.0, 0.5, 0.999], size=pick.sum())
            continue
        if pool.get(column):
            exact = np.array(pool[column])
            near = np.concatenate([exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)])
            pick = rng.random(rows) < 0.4
            x[pick, column] = rng.choice(near, size=pick.sum())
        pick = rng.random(rows) < 0.12
        x[pick, column] = rng.choice(SPECIAL, size=pick.sum())
    for row, value in enumerate([np.nan, np.inf, -np.inf, 0.0, -0.0, ZERO, -ZERO]):
        x[row] = value
    return np.ascontiguousarray(x)


class Writer:
    def __init__(self, directory):
        self.directory = directory
        self.cases = []

    def write(self, name, booster, rng, categorical=(), ranges=((0, 0),), rows=2000, edit=None, categories=70):
        path = self.directory / f"{name}.txt"
        booster.save_model(path)
        if edit:
            path.write_text(edit(path.read_text()))
        # Scored from the file, as a server would.
        booster = lgb.Booster(model_file=path)
        text = path.read_text(encoding="utf-8")
        columns = booster.num_feature()
        x = hostile_rows(rng, text, columns, rows, categorical, categories)
        x.astype("<f8").tofile(self.directory / f"{name}.rows.f64")
        for begin, end in ranges:
            for kind in ("raw", "value"):
                with np.errstate(all="ignore"):
                    scores = booster.predict(
                        x, raw_score=kind == "raw", start_iteration=begin, num_iteration=end - begin if end else -1, num_threads=1
                    )
                assert scores.dtype == np.float64, scores.dtype
                width = scores.size // rows
                scores.astype("<f8").tofile(self.directory / f"{name}.{begin}-{end}.{kind}.f64")
        self.cases.append({
            "name": name, "rows": rows, "columns": columns, "width": width, "ranges": [list(r) for r in ranges],
            "iterations": booster.current_iteration(), "trees": booster.num_trees(), "feature_names": booster.feature_name(),
            "pandas_categorical": booster.pandas_categorical,
        })


def resized(text):
    """Without the line that says how long each tree is, for a model that was edited."""
    return re.sub(r"^tree_sizes=.*\n", "", text, flags=re.M)


def edited(key, change):
    def edit(text):
        lines = lambda m: f"{key}=" + " ".join(change(word) for word in m[1].split())
        return resized(re.sub(rf"^{key}=(.*)$", lines, text, flags=re.M))
    return edit


def objective_cases(out):
    rng = np.random.default_rng(1)
    x = training_rows(rng, 1500)
    for objective in ["regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "binary", "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg"]:
        classes = {"num_class": 3} if objective.startswith("multiclass") else {}
        booster = train({"objective": objective, **classes}, x, labels(rng, objective, x))
        out.write(objective, booster, rng, ranges=((0, 0), (0, 7), (5, 6), (12, 0)))
        # Scores far outside what training gives, where exp overflows.
        out.write(f"{objective}_extreme", booster, rng, edit=edited("leaf_value", lambda v: repr(float(v) * 900)))
    for objective in ["regression", "regression_l1", "fair", "quantile", "mape", "huber"]:
        out.write(f"{objective}_sqrt", train({"objective": objective, "reg_sqrt": True}, x, labels(rng, objective, x)), rng)
    for sigmoid in [0.3, 0.7, 1.13579, 2.5e-5, 123.456, 7654321.0]:
        out.write(f"binary_sigmoid_{sigmoid}", train({"objective": "binary", "sigmoid": sigmoid}, x, labels(rng, "binary", x), 5), rng, rows=500)
        out.write(f"ova_sigmoid_{sigmoid}", train({"objective": "multiclassova", "num_class": 4, "sigmoid": sigmoid}, x, labels(rng, "multiclass", x, 4), 3), rng, rows=500)
    custom = lambda scores, data: (scores - data.get_label(), np.ones_like(scores))
    out.write("custom", train({"objective": custom}, x, signal(x)), rng)
    three = lambda scores, data: (scores - np.stack([data.get_label() * k for k in range(3)], axis=1), np.ones_like(scores))
    out.write("custom_three", train({"objective": three, "num_class": 3}, x, signal(x), 6), rng, ranges=((0, 0), (1, 3)))
    for alias in ["none", "custom", "l2_root", "mae", "xentropy", "xentlambda"]:
        plain = train({"objective": "regression"}, x, signal(x), 4)
        out.write(f"alias_{alias}", plain, rng, rows=300, edit=lambda text: text.replace("objective=regression\n", f"objective={alias}\n", 1))


def boosting_cases(out):
    rng = np.random.default_rng(2)
    x = training_rows(rng, 1500)
    s = signal(x)
    bagging = {"bagging_freq": 1, "bagging_fraction": 0.6}
    ranges = ((0, 0), (0, 3), (4, 15))
    out.write("rf", train({"objective": "regression", "boosting": "rf", **bagging}, x, s), rng, ranges=ranges)
    out.write("rf_binary", train({"objective": "binary", "boosting": "rf", **bagging}, x, s > 0.5), rng, ranges=ranges)
    out.write("rf_multiclass", train({"objective": "multiclass", "num_class": 3, "boosting": "rf", **bagging}, x, np.digitize(s, [0, 1])), rng, ranges=ranges)
    out.write("dart", train({"objective": "binary", "boosting": "dart", "drop_rate": 0.4}, x, s > 0.5), rng, ranges=ranges)
    out.write("goss", train({"objective": "binary", "data_sample_strategy": "goss"}, x, s > 0.5), rng, ranges=ranges)
    out.write("deep", train({"objective": "regression", "num_leaves": 500, "min_data_in_leaf": 1}, x, s, 15), rng)
    out.write("chain", train({"objective": "regression", "num_leaves": 60, "min_data_in_leaf": 1, "min_gain_to_split": 0}, np.exp(np.exp(np.arange(80) / 20))[:, None], np.exp(np.arange(80)), 3), rng)
    out.write("stumps", train({"objective": "binary", "num_leaves": 2}, x, s > 0.5, 100), rng)
    out.write("constant", train({"objective": "regression", "min_data_in_leaf": 2000}, x, s, 3), rng, rows=50)
    out.write("constant_classes", train({"objective": "multiclass", "num_class": 3, "min_data_in_leaf": 2000}, x, np.digitize(s, [0, 1]), 3), rng, rows=50)
    first = train({"objective": "regression"}, x, s, 5)
    out.write("continued", lgb.train({**QUIET, "objective": "regression", "max_bin": 60}, lgb.Dataset(x + 0.01, s), 5, init_model=first), rng)
    out.write("max_bin", train({"objective": "regression", "max_bin": 5000, "min_data_in_bin": 1, "num_leaves": 200, "min_data_in_leaf": 1}, training_rows(rng, 8000), signal(training_rows(rng, 8000)), 5), rng)
    held = lgb.Dataset(x[1000:], s[1000:] > 0.5)
    stopped = lgb.train({**QUIET, "objective": "binary", "learning_rate": 0.9}, lgb.Dataset(x[:1000], s[:1000] + rng.normal(size=1000) * 3 > 0.5), 100, valid_sets=[held], callbacks=[lgb.early_stopping(3, verbose=False)])
    assert 0 < stopped.best_iteration < 100
    out.write("early_stopped", stopped, rng)


def missing_cases(out):
    rng = np.random.default_rng(3)
    x = training_rows(rng, 1500)
    s = signal(x)
    for name, params, rows in [
        ("zero_as_missing", {"zero_as_missing": True}, x), ("use_missing_off", {"use_missing": False}, x),
        ("no_missing", {}, np.nan_to_num(x, nan=0.5)), ("zero_as_missing_dense", {"zero_as_missing": True}, np.nan_to_num(x, nan=0.0)),
    ]:
        booster = train({"objective": "regression", **params}, rows, s, 40)
        out.write(name, booster, rng)
        # All kinds of missing values, both defaults, and thresholds in and around the zero band.
        out.write(f"{name}_kinds", booster, rng, edit=edited("decision_type", lambda _: str(rng.choice([0, 2, 4, 6, 8, 10]))))
        thresholds = [repr(float(v)) for v in SPECIAL if not np.isnan(v)]
        band = edited("threshold", lambda v: rng.choice(thresholds) if rng.random() < 0.6 else v)
        kinds = edited("decision_type", lambda _: str(rng.choice([0, 2, 4, 6, 8, 10])))
        out.write(f"{name}_band", booster, rng, edit=lambda text: band(kinds(text)))


def categorical_cases(out):
    import pandas as pd

    rng = np.random.default_rng(4)
    for name, categories, params in [
        ("few", 5, {}), ("onehot", 5, {"max_cat_to_onehot": 10}), ("many", 70, {"max_cat_threshold": 64}),
        ("zeros", 8, {"zero_as_missing": True}), ("no_missing", 8, {"use_missing": False}),
    ]:
        x = training_rows(rng, 3000, categorical=CATEGORICAL, categories=categories)
        params = {"objective": "binary", "cat_smooth": 1, "cat_l2": 1, "min_data_per_group": 5, **params}
        out.write(f"categories_{name}", train(params, x, signal(x) > 2, 30, categorical_feature=CATEGORICAL), rng, CATEGORICAL)
    x = training_rows(rng, 3000, categorical=CATEGORICAL, categories=90)
    spread = x.copy()
    spread[:, 4] *= 1500  # beyond 16 bits
    params = {"objective": "regression", "cat_smooth": 1, "min_data_per_group": 5}
    out.write("categories_spread", train(params, spread, signal(x), 10, categorical_feature=CATEGORICAL), rng, CATEGORICAL, categories=140_000)

    n = len(x)
    codes = lambda k: rng.integers(0, k, size=n)
    frame = pd.DataFrame({
        "amount": x[:, 1], "colour": pd.Categorical.from_codes(codes(5), ["rot", "yé", "blau", "z \"x\"", "weiß=1"]),
        "shop": pd.Categorical.from_codes(codes(70), list(range(100, 170))), "größe": rng.integers(0, 9, size=n),
        "rate": pd.Categorical.from_codes(codes(3), [0.1, 2.5, 1e-7]), "flag": pd.Categorical.from_codes(codes(2), [False, True]),
    })
    y = frame["amount"] + frame["colour"].cat.codes % 2 + np.sin(frame["shop"].cat.codes) + frame["rate"].cat.codes * frame["flag"].cat.codes
    out.write("frame", train({"objective": "regression", **params}, frame, y), rng, [1, 2, 4, 5])
    ordered = frame.assign(colour=frame["colour"].cat.as_ordered())
    out.write("frame_ordered", train({"objective": "regression"}, ordered, y, 5), rng, [2, 4, 5], rows=200)


def linear_cases(out):
    rng = np.random.default_rng(5)
    x = training_rows(rng, 1500, categorical=[4])
    x[:, 3] /= 1e30
    s = signal(x)
    linear = {"linear_tree": True, "num_leaves": 12}
    out.write("linear", train({"objective": "regression", **linear}, x, s, 15, categorical_feature=[4]), rng, [4], ranges=((0, 0), (0, 1), (3, 9)))
    out.write("linear_binary", train({"objective": "binary", **linear}, x, s > 0.5, 15), rng)
    out.write("linear_multiclass", train({"objective": "multiclass", "num_class": 3, **linear}, x, np.digitize(s, [0, 1]), 6), rng)
    out.write("linear_constant", train({"objective": "regression", "min_data_in_leaf": 2000, **linear}, x, s, 3), rng, rows=50)
    out.write("linear_lambda", train({"objective": "regression", "linear_lambda": 10.0, **linear}, np.nan_to_num(x), s, 10), rng)
    plain = train({"objective": "regression"}, x, s, 4)
    out.write("linear_after_plain", lgb.train({**QUIET, "objective": "regression", **linear}, lgb.Dataset(x, s, params={"linear_tree": True}), 4, init_model=plain), rng)


def format_cases(out):
    rng = np.random.default_rng(6)
    x = training_rows(rng, 1500)
    booster = train({"objective": "binary"}, x, signal(x) > 0.5, 5)
    old = lambda text: resized(text.replace("version=v4", "version=v3", 1).replace("is_linear=0\n", ""))
    out.write("version_3", booster, rng, edit=old)
    out.write("windows_lines", booster, rng, edit=lambda text: resized(text).replace("\n", "\r\n"))
    out.write("names", train({"objective": "binary"}, x, signal(x) > 0.5, 5, feature_name=[f"né=={i}" for i in range(COLUMNS)]), rng, rows=100)
    out.write("monotone", train({"objective": "regression", "monotone_constraints": [1, -1] + [0] * 8}, x, signal(x), 5), rng, rows=300)
    wide = np.zeros((400, 40_000))
    wide[:, rng.choice(40_000, size=300, replace=False)] = rng.normal(size=(400, 300))
    y = wide.sum(axis=1)
    out.write("many_features", train({"objective": "regression", "min_data_in_leaf": 1, "num_leaves": 60}, wide, y, 30), rng, rows=70)
    huge = np.zeros((200, 120_000))  # where the library goes over to maps
    huge[:, [3, 70_000, 119_999]] = rng.normal(size=(200, 3))
    out.write("maps", train({"objective": "regression", "min_data_in_leaf": 1}, huge, huge.sum(axis=1), 3), rng, rows=20)


def generated_cases(out, count, seed):
    rng = np.random.default_rng(seed)
    objectives = ["regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "binary", "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg"]
    pick = lambda *values: values[rng.integers(len(values))]
    number = 0
    while number < count:
        columns = int(rng.integers(1, COLUMNS + 1))
        objective = pick(*objectives, "binary", "regression", "multiclass")
        boosting = pick("gbdt", "gbdt", "gbdt", "dart", "rf")
        categorical = [c for c in CATEGORICAL if c < columns and rng.random() < 0.5]
        classes = int(rng.integers(2, 6))
        params = {
            "objective": objective, "boosting": boosting, "num_leaves": int(rng.integers(2, 40)), "max_depth": pick(-1, -1, 2, 5),
            "min_data_in_leaf": int(pick(1, 3, 10)), "learning_rate": pick(0.1, 0.5, 0.03, 1.7), "max_bin": int(pick(255, 15, 3, 63)),
            "min_data_in_bin": int(pick(1, 3)), "use_missing": bool(rng.random() < 0.85), "zero_as_missing": bool(rng.random() < 0.3),
            "extra_trees": bool(rng.random() < 0.2), "boost_from_average": bool(rng.random() < 0.8), "max_cat_to_onehot": int(pick(1, 4, 50)),
            "cat_smooth": 1.0, "min_data_per_group": int(pick(1, 20)), "lambda_l1": pick(0.0, 0.5), "path_smooth": pick(0.0, 1.0),
            "seed": int(rng.integers(1 << 30)), "feature_fraction": pick(1.0, 0.6), "enable_bundle": bool(rng.random() < 0.7),
            "use_quantized_grad": bool(rng.random() < 0.1),
        }
        if objective.startswith("multiclass"):
            params["num_class"] = classes
        if objective in ("binary", "multiclassova"):
            params["sigmoid"] = float(rng.choice([1.0, 0.5, rng.random() * 3 + 0.01]))
        if objective in ("regression", "regression_l1", "fair", "quantile", "mape"):
            params["reg_sqrt"] = bool(rng.random() < 0.3)
        if boosting == "rf" or rng.random() < 0.3:
            params.update(bagging_freq=1, bagging_fraction=0.7)
        if objective not in ("regression_l1", "quantile", "mape") and boosting != "rf" and rng.random() < 0.2:
            params.update(linear_tree=True, zero_as_missing=False, use_quantized_grad=False)
        x = training_rows(rng, 300, columns, pick(0.0, 0.1, 0.4), categorical, int(pick(3, 9, 40)))
        try:
            booster = train(params, x, labels(rng, objective, x, classes), int(rng.integers(1, 16)), categorical_feature=categorical)
        except lgb.basic.LightGBMError:  # some combinations fail a check of the library's own while it trains
            continue
        last = booster.current_iteration()
        ranges = [(0, 0)]
        if last > 1:
            begin = int(rng.integers(0, last - 1))
            ranges.append((begin, int(rng.integers(begin + 1, last + 1))))
        out.write(f"generated_{number}", booster, rng, categorical, ranges, rows=60)
        number += 1


def bench(directory):
    rng = np.random.default_rng(6)
    columns = 30
    x = rng.normal(size=(20_000, columns))
    y = (x[:, :15].sum(axis=1) + x[:, 15] * x[:, 16] * 3 + rng.normal(size=len(x)) > 0).astype(float)
    rows = rng.normal(size=(100_000, columns))
    gaps = rows.copy()
    gaps[rng.random(rows.shape) < 0.1] = np.nan
    rows.astype("<f8").tofile(directory / "bench.rows.f64")
    gaps.astype("<f8").tofile(directory / "bench.gaps.f64")
    holes = x.copy()
    holes[rng.random(x.shape) < 0.1] = np.nan
    leafwise = {"objective": "binary", "num_leaves": 64, "min_data_in_leaf": 1, "learning_rate": 0.1}
    for name, params, data in [("bench", {**leafwise, "max_depth": 6}, x), ("bench_missing", {**leafwise, "max_depth": 6}, holes), ("bench_leafwise", leafwise, x)]:
        train(params, data, y, 200).save_model(directory / f"{name}.txt")
        booster = lgb.Booster(model_file=directory / f"{name}.txt")
        leaves = [int(n) for n in re.findall(r"^num_leaves=(\d+)", (directory / f"{name}.txt").read_text(), re.M)]
        print(f"{name}: library {lgb.__version__}, one thread, {len(leaves)} trees, {np.mean(leaves):.0f} leaves each, {columns} columns")
        for kind, matrix in [("dense", rows), ("10% missing", gaps)]:
            for size in [1, 64, 1000, 100_000]:
                part = np.ascontiguousarray(matrix[:size])
                best = min(timed(booster, part, max(1, 1000 // size)) for _ in range(5))
                print(f"  {kind:12} {size:7} rows  {best / size * 1e6:9.3f} us/row")


def timed(booster, rows, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        booster.predict(rows, num_threads=1)
    return (time.perf_counter() - start) / repeats


def fixtures(directory):
    import pandas as pd

    rng = np.random.default_rng(7)
    colours = pd.Categorical.from_codes(rng.integers(0, 4, size=200), ["red", "green", "blue", "yellow"])
    frame = pd.DataFrame({"amount": rng.normal(size=200), "colour": colours, "n": rng.integers(0, 9, size=200)})
    y = frame["amount"] + colours.codes % 2 + frame["n"] / 9
    small = {"num_leaves": 5, "min_data_in_leaf": 2, "min_data_per_group": 2, "cat_smooth": 1}
    train({"objective": "binary", **small}, frame, y > 1, 2).save_model(directory / "categories.lightgbm.txt")
    linear = {"objective": "multiclass", "num_class": 3, "linear_tree": True, **small}
    train(linear, frame[["amount", "n"]], np.digitize(y, [0.5, 1.5]), 2).save_model(directory / "linear.lightgbm.txt")
    forest = {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, "zero_as_missing": True, **small}
    train(forest, frame[["amount", "n"]], y, 3).save_model(directory / "forest.lightgbm.txt")


def main():
    directory = Path(sys.argv[-1])
    if sys.argv[1] == "--fixtures":
        fixtures(directory)
        return
    if sys.argv[1] == "--bench":
        bench(directory)
        return
    out = Writer(directory)
    objective_cases(out)
    boosting_cases(out)
    missing_cases(out)
    categorical_cases(out)
    linear_cases(out)
    format_cases(out)
    generated_cases(out, int(os.environ.get("TRUELINE_GENERATED_MODELS", 1200)), int(os.environ.get("TRUELINE_GENERATED_SEED", 0)))
    (directory / "cases.json").write_text(json.dumps({"lightgbm": lgb.__version__, "cases": out.cases}))


if __name__ == "__main__":
    main()
