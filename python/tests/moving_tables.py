"""Compares two databases of MLflow's table by table: one that MLflow has filled, and one that was imported from it and
exported again.

    python moving_tables.py <database URL> <other database URL>

Prints how many rows each table has, or the first differences, and then exits with 1. What may differ is listed here, with
the reason.
"""

import json
import sys

from mlflow.store.db.utils import _upgrade_db, _verify_schema
from sqlalchemy import create_engine, inspect, text

# Ids that MLflow draws at random and shows nobody; what refers to them is compared through them.
DRAWN = {
    ("datasets", "dataset_uuid"),
    ("inputs", "input_uuid"),
    ("input_tags", "input_uuid"),
    ("entity_associations", "association_id"),
    ("logged_model_metrics", "dataset_uuid"),
}
# Addresses of artifacts follow them to their new folder; `moving_compare.py --artifacts` reads what is there.
ADDRESSES = {
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
}
UNKEPT = {
    # What no client can read or write any more; MLflow itself writes the same constants for every run.
    ("runs", "source_type"),
    ("runs", "source_name"),
    ("runs", "entry_point_name"),
    ("runs", "source_version"),
    # When two things were associated is told to nobody.
    ("entity_associations", "created_time"),
    # Counts writes of spans, for servers that archive them.
    ("trace_info", "db_payload_generation"),
}
# Trueline makes this experiment itself; its times are not those of the other.
OWN_TIMES = ("experiments", "0", {"creation_time", "last_update_time"})
JSON_COLUMNS = {"inputs", "outputs", "expectations", "tags", "source", "schema", "profile", "value", "content"} | {
    "root_causes",
    "categories",
}


def normal(table, column, value, names):
    if value is not None and (table, column) in {("inputs", "source_id")}:
        return names.get(value, value)
    if (table, column) == ("trace_tags", "value") and isinstance(value, str) and "/traces/" in value:
        return "address"
    if column in JSON_COLUMNS and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    return value


def rows(engine, table, columns, names):
    with engine.connect() as connection:
        found = []
        for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
            out = {}
            for column in columns:
                if (table, column) in DRAWN | ADDRESSES | UNKEPT:
                    continue
                if table == OWN_TIMES[0] and str(row.get("experiment_id")) == OWN_TIMES[1] and column in OWN_TIMES[2]:
                    continue
                out[column] = normal(table, column, row[column], names)
            found.append(json.dumps(out, sort_keys=True, default=str))
        return sorted(found)


def shape(inspector, table):
    """What of a table later migrations of MLflow's refer to."""
    columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)}
    key = inspector.get_pk_constraint(table)
    foreign = sorted(
        (f["name"] or "", f["constrained_columns"], f["referred_table"], f["options"])
        for f in inspector.get_foreign_keys(table)
    )
    indexes = sorted((i["name"], i["column_names"], bool(i["unique"])) for i in inspector.get_indexes(table))
    unique = sorted((u["name"] or "", u["column_names"]) for u in inspector.get_unique_constraints(table))
    checks = sorted(c["name"] or c["sqltext"] for c in inspector.get_check_constraints(table))
    return {"columns": columns, "key": key, "foreign": foreign, "indexes": indexes, "unique": unique, "checks": checks}


def dataset_names(engine):
    with engine.connect() as connection:
        found = connection.execute(text("SELECT dataset_uuid, experiment_id, name, digest FROM datasets"))
        return {row[0]: str(row[1:]) for row in found}


def compare(one, other, data):
    engines = [create_engine(url) for url in (one, other)]
    # MLflow takes the schema for its own, and its upgrade has nothing to do.
    _verify_schema(engines[1])
    _upgrade_db(engines[1])
    inspectors = [inspect(engine) for engine in engines]
    tables = [sorted(inspector.get_table_names()) for inspector in inspectors]
    if tables[0] != tables[1]:
        yield f"tables: {sorted(set(tables[0]) ^ set(tables[1]))}"
        return
    names = [dataset_names(engine) for engine in engines]
    for table in tables[0]:
        shapes = [shape(inspector, table) for inspector in inspectors]
        for part in shapes[0]:
            if shapes[0][part] != shapes[1][part]:
                yield f"{table} {part}: {shapes[0][part]} is {shapes[1][part]}"
        if not data:
            continue
        columns = sorted(shapes[0]["columns"])
        here, there = (rows(e, table, columns, n) for e, n in zip(engines, names))
        for row in here:
            if row not in there:
                yield f"{table}: missing {row}"
        for row in there:
            if row not in here:
                yield f"{table}: new {row}"
        if here == there and here:
            print(f"{table}: {len(here)} rows")


if __name__ == "__main__":
    found = list(compare(sys.argv[1], sys.argv[2], "--schema" not in sys.argv[3:]))
    print("\n".join(found[:60]))
    sys.exit(1 if found else 0)
