#!/usr/bin/env python3
"""Has pandas, pyarrow, polars, DuckDB, numpy and safetensors read what featvec writes, and compares every value.

It installs them from PyPI in an environment that is thrown away afterwards (or in the one that --env names, to be used
again), and runs the test of featvec-collections that makes outputs, with FEATVEC_PYTHON set to that environment's Python.
The test then calls this script with --check:

    python3 tools/readers/readers.py
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

PACKAGES = ["duckdb", "numpy", "pandas", "polars", "pyarrow", "safetensors"]
# What the test takes as "the libraries are not there".
MISSING = 77


def install_and_run(env):
    with tempfile.TemporaryDirectory() as folder:
        env = pathlib.Path(env or folder)
        python = env / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            venv.create(env, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        command = ["cargo", "test", "-p", "featvec-collections", "--locked", "--test", "store", "readers"]
        environment = dict(os.environ, FEATVEC_PYTHON=str(python.absolute()))
        return subprocess.run([*command, "--", "--nocapture"], env=environment).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", help="an environment to make or to use again")
    parser.add_argument("--check", type=pathlib.Path, help="a folder of outputs x.*, and of what they hold, wanted.json")
    args = parser.parse_args()
    if not args.check:
        return install_and_run(args.env)
    try:
        return check(args.check)
    except ModuleNotFoundError as error:
        print(error)
        return MISSING


def check(folder):
    import duckdb
    import numpy
    import pandas
    import polars
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet
    import safetensors.numpy

    wanted = json.loads((folder / "wanted.json").read_text())
    dtype = numpy.dtype({"f32": "float32", "f16": "float16"}[wanted["dtype"]])
    rows = wanted["rows"]
    good = [row for row in rows if row["status"] == "ok"]
    vectors = numpy.array([row["vector"] for row in good], dtype)
    parquet, arrow = str(folder / "x.parquet"), str(folder / "x.arrow")

    def equal(what, found, expected=rows):
        """Compares rows, dictionaries, with those expected, in their order."""
        assert len(found) == len(expected), f"{what}: {len(found)} rows"
        for row, want in zip(found, expected):
            for name, value in want.items():
                there = row[name]
                if name == "vector" and value is not None:
                    there = numpy.asarray(there).astype(dtype).tolist()
                if name == "content_hash" and there is not None:
                    there = bytes(there).hex()
                if isinstance(there, float) and there != there or there is pandas.NA:
                    there = None
                assert there == value, f"{what}: {want['key']}: {name}: {there!r}, not {value!r}"
        print(f"  {what}: {len(found)} rows")

    print(f"{wanted['dtype']}: {len(rows)} rows, {len(good)} vectors")
    table = pyarrow.parquet.read_table(parquet)
    assert table.schema.field("vector").type == pyarrow.list_(
        pyarrow.field("item", pyarrow.from_numpy_dtype(dtype), nullable=False), vectors.shape[1]
    ), table.schema
    equal(f"pyarrow {pyarrow.__version__}, parquet", table.to_pylist())
    equal("pyarrow, arrow", pyarrow.feather.read_table(arrow).to_pylist())
    mapped = pyarrow.ipc.open_file(pyarrow.memory_map(arrow)).get_batch(0)["vector"]
    assert mapped.flatten().to_numpy(zero_copy_only=True).dtype == dtype, "vectors are mapped, not copied"

    for what, frame in [("parquet", pandas.read_parquet(parquet)), ("arrow", pandas.read_feather(arrow))]:
        equal(f"pandas {pandas.__version__}, {what}", frame.to_dict("records"))
        matrix = numpy.stack(frame.loc[frame.status == "ok", "vector"])
        assert matrix.dtype == dtype and (matrix == vectors).all()
    frame = pandas.read_csv(folder / "x.csv")
    assert frame.path.tolist() == [row["key"] for row in good]
    assert (frame.drop(columns="path").to_numpy(dtype) == vectors).all()
    equal("pandas, jsonl", pandas.read_json(folder / "x.jsonl", lines=True, precise_float=True).to_dict("records"),
          [{"path": row["key"], "vector": row["vector"]} for row in good])
    print(f"  pandas, csv: {len(frame)} rows")

    for what, frame in [
        (f"polars {polars.__version__}, parquet", polars.read_parquet(parquet)),
        ("polars, scan of parquet", polars.scan_parquet(parquet).collect()),
        ("polars, arrow", polars.read_ipc(arrow)),
    ]:
        equal(what, frame.to_dicts())
        matrix = frame.filter(polars.col("status") == "ok")["vector"].to_numpy()
        assert matrix.shape == vectors.shape and (matrix == vectors).all()
    frame = polars.read_csv(folder / "x.csv")
    assert frame["path"].to_list() == [row["key"] for row in good]
    assert (frame.drop("path").to_numpy().astype(dtype) == vectors).all()
    print(f"  polars, csv: {len(frame)} rows")

    relation = duckdb.sql(f"select * from read_parquet('{parquet}')")
    found = [dict(zip(relation.columns, row)) for row in relation.fetchall()]
    equal(f"duckdb {duckdb.__version__}, parquet", found)
    count = duckdb.sql(f"select status, count(*) from '{parquet}' group by status").fetchall()
    assert dict(count) == {status: sum(row["status"] == status for row in rows) for status in dict(count)}
    if dtype != numpy.float16:  # DuckDB 2.0 takes no such column from Arrow; from Parquet it does.
        feather = pyarrow.feather.read_table(arrow)  # found by its name
        relation = duckdb.sql("select * from feather")
        equal("duckdb, arrow", [dict(zip(relation.columns, row)) for row in relation.fetchall()])
    found = duckdb.sql(f"select path, vector from read_json('{folder}/x.jsonl')").fetchall()
    assert [path for path, _ in found] == [row["key"] for row in good]
    assert (numpy.array([vector for _, vector in found], dtype) == vectors).all()
    found = duckdb.sql(f"select * from read_csv('{folder}/x.csv')").fetchall()
    assert [row[0] for row in found] == [row["key"] for row in good]
    print(f"  duckdb, jsonl and csv: {len(found)} rows")

    names = (folder / "x.paths.txt").read_text().splitlines()
    assert names == [row["key"] for row in good]
    for what, array in [
        (f"numpy {numpy.__version__}, npy", numpy.load(folder / "x.npy", mmap_mode="r")),
        (f"safetensors {safetensors.__version__}", safetensors.numpy.load_file(folder / "x.safetensors")["vectors"]),
    ]:
        assert array.dtype == dtype and array.shape == vectors.shape and (array == vectors).all(), what
        print(f"  {what}: {len(array)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
