"""How long a reader waits for a million flows: from the socket to the table in memory, by library and format.

Each way has its turn in each round, and the median of the rounds counts. The server shares the machine, so wall clock
is that of both; the processor time is that of the reader alone. `make clients TIMES=1` runs it, ROUNDS=9 says how often.
"""

import gzip
import io
import os
import pathlib
import shutil
import statistics
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# No folders of bytecode among the sources.
sys.dont_write_bytecode = True

import duckdb  # noqa: E402
import pandas  # noqa: E402
import polars  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.csv  # noqa: E402
import pyarrow.json  # noqa: E402

from served import MANIFEST, served  # noqa: E402

ROWS = 1_000_000
ROUNDS = int(os.environ.get("ROUNDS", "5"))
TEXTS = ["src_comp", "src_port", "dst_comp", "dst_port"]
#: What the query asks: it looks at a text and at two integers of each flow.
QUERY = "SELECT src_comp, sum(byte_count), max(time) FROM flows GROUP BY src_comp"


def asked(url, name):
    """The open response. A format behind `.gz` comes as gzip, and is decoded while it is read."""
    format, _, coded = name.partition(".")
    headers = {"Accept-Encoding": "gzip"} if coded else {}
    response = urllib.request.urlopen(urllib.request.Request(f"{url}.{format}", headers=headers))
    return gzip.GzipFile(fileobj=response) if coded else response


def read_by_polars(response, format):
    if format == "arrow":
        return polars.from_arrow(pyarrow.ipc.open_stream(response)).height
    if format == "csv":
        return polars.read_csv(response.read(), schema_overrides=dict.fromkeys(TEXTS, polars.String)).height
    read = {"json": polars.read_json, "ndjson": polars.read_ndjson}[format]
    return read(io.BytesIO(response.read())).height


def read_by_polars_alone(response, _format):
    return polars.read_ipc_stream(response.read()).height


def read_by_pyarrow(response, format):
    if format == "arrow":
        return pyarrow.ipc.open_stream(response).read_all().num_rows
    if format == "csv":
        types = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(TEXTS, pyarrow.string()))
        return pyarrow.csv.read_csv(response, convert_options=types).num_rows
    return pyarrow.json.read_json(response).num_rows


def read_by_pandas(response, format):
    if format == "arrow":
        return len(pyarrow.ipc.open_stream(response).read_pandas())
    text = dict.fromkeys(TEXTS, str)
    if format == "csv":
        return len(pandas.read_csv(response, dtype=text, keep_default_na=False))
    return len(pandas.read_json(response, dtype=text, lines=format == "ndjson"))


def asked_of_duckdb(response, format):
    """The answer to a query. A text comes by a file, since DuckDB has no HTTP of its own without an extension."""
    if format == "arrow":
        flows = pyarrow.ipc.open_stream(response)
    else:
        with open("flows", "wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)
        text = dict.fromkeys(TEXTS, "VARCHAR")
        flows = duckdb.read_csv("flows", dtype=text) if format == "csv" else duckdb.read_json("flows")
    return sum(row[0] is not None for row in duckdb.sql(QUERY).fetchall())


#: What reads, and what of.
READERS = {
    "polars": (read_by_polars, ["arrow", "csv", "ndjson", "json", "csv.gz", "arrow.gz"]),
    "polars, read_ipc_stream": (read_by_polars_alone, ["arrow"]),
    "pyarrow": (read_by_pyarrow, ["arrow", "csv", "ndjson", "csv.gz", "arrow.gz"]),
    "pandas": (read_by_pandas, ["arrow", "csv", "ndjson", "json", "csv.gz", "arrow.gz"]),
    "DuckDB, a query": (asked_of_duckdb, ["arrow", "csv", "ndjson", "json", "csv.gz", "arrow.gz"]),
}


def main():
    times = {}
    with served(ROWS) as server:
        os.chdir(server.database.parent)
        url = f"{server.url}/api/v1/stream/flows"
        counts = {}
        # The first round does not count: it makes threads, instances and caches.
        for round in range(ROUNDS + 1):
            for name, (read, formats) in READERS.items():
                for format in formats:
                    wall, processor = time.perf_counter(), time.process_time()
                    with asked(url, format) as response:
                        rows = read(response, format.partition(".")[0])
                    took = time.perf_counter() - wall, time.process_time() - processor
                    if counts.setdefault(name, rows) != rows:
                        raise SystemExit(f"{name}, {format}: {rows} rows, expected {counts[name]}")
                    if round:
                        times.setdefault((name, format), []).append(took)
    if any(rows != ROWS for name, rows in counts.items() if "query" not in name):
        raise SystemExit(f"{counts}, expected {ROWS} rows")
    print(f"{ROWS} flows, {MANIFEST}, median of {ROUNDS} rounds; seconds, and processor seconds of the reader")
    print("| reader | format | s | processor s | as Arrow |\n|---|---|---|---|---|")
    for name, (_, formats) in READERS.items():
        for format in formats:
            wall, processor = (statistics.median(part) for part in zip(*times[name, format]))
            # By rounds, so that what else the machine does falls on both.
            pairs = zip(times[name, format], times[name, "arrow"])
            of_wall, of_processor = zip(*([a / b for a, b in zip(*pair)] for pair in pairs))
            ratio = f"{statistics.median(of_wall):.1f}, {statistics.median(of_processor):.1f}"
            print(f"| {name} | {format} | {wall:.2f} | {processor:.3f} | {ratio} |")


if __name__ == "__main__":
    main()
