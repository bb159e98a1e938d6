"""Clients that others wrote read an answer of 100 thousand flows, and get what the database holds.

Each client reads as its users would: by its own HTTP where it has one, else out of a file that curl wrote.
What is right comes from Python's sqlite3, in the order of (time, id).

The blocks of docs/reading.md are run as they stand there. Each of them, and every reader of Arrow, then has to fail
where the service cuts its answer.
"""

import contextlib
import csv
import gzip
import io
import json
import operator
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# No folders of bytecode among the sources.
sys.dont_write_bytecode = True

import duckdb  # noqa: E402
import lxml.etree  # noqa: E402
import pandas  # noqa: E402
import polars  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402
import requests  # noqa: E402

from served import FLOWS, ROOT, served  # noqa: E402

ROWS = 100_000
#: The fields of a record, and the type of each.
FIELDS = {
    "id": int,
    "time": int,
    "duration": int,
    "src_comp": str,
    "src_port": str,
    "dst_comp": str,
    "dst_port": str,
    "protocol": int,
    "packet_count": int,
    "byte_count": int,
}
TEXTS = [name for name, kind in FIELDS.items() if kind is str]


def rows_of_records(records):
    """Rows out of objects, whose fields must be those of a record, in their order."""
    rows = []
    for record in records:
        if list(record) != list(FIELDS):
            raise ValueError(f"fields {list(record)}")
        rows.append(tuple(record.values()))
    return rows


def rows_of_csv(text):
    reader = csv.reader(io.StringIO(text, newline=""))
    if next(reader) != list(FIELDS):
        raise ValueError("another header line")
    return [tuple(kind(value) for kind, value in zip(FIELDS.values(), row, strict=True)) for row in reader]


def rows_of_frame(frame):
    if list(frame.columns) != list(FIELDS):
        raise ValueError(f"columns {list(frame.columns)}")
    return list(zip(*(frame[name].tolist() for name in FIELDS), strict=True))


def rows_of_xml(root):
    if root.tag != "records" or any(record.tag != "record" for record in root):
        raise ValueError("other elements")
    rows = []
    for record in root:
        if [field.tag for field in record] != list(FIELDS):
            raise ValueError(f"fields {[field.tag for field in record]}")
        rows.append(tuple(kind(field.text or "") for kind, field in zip(FIELDS.values(), record)))
    return rows


def rows_of_arrow(reader):
    """Rows of a stream, checked by pyarrow: the whole of each batch, and the count that the last one has."""
    tables = []
    while True:
        try:
            batch = reader.read_next_batch_with_custom_metadata()
        except StopIteration:
            break
        batch.batch.validate(full=True)
        tables.append(batch)
    table = pyarrow.Table.from_batches([batch.batch for batch in tables], reader.schema)
    if tables[-1].custom_metadata[b"count"] != str(table.num_rows).encode():
        raise ValueError("another count")
    return rows_of_table(table)


def rows_of_table(table):
    if table.column_names != list(FIELDS):
        raise ValueError(f"columns {table.column_names}")
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def rows_of(flows):
    """Rows of what a block of the documents calls `flows`."""
    if isinstance(flows, list):
        return rows_of_records(flows)
    if isinstance(flows, pandas.DataFrame):
        return rows_of_frame(flows)
    if isinstance(flows, polars.DataFrame):
        return rows_of_table(flows.to_arrow())
    if isinstance(flows, duckdb.DuckDBPyRelation):
        if flows.columns != list(FIELDS):
            raise ValueError(f"columns {flows.columns}")
        return flows.fetchall()
    return rows_of_table(flows)


def in_order(rows):
    """Rows in the order of (time, id)."""
    time_and_id = operator.itemgetter(list(FIELDS).index("time"), list(FIELDS).index("id"))
    return sorted(rows, key=time_and_id)


def curl(url, *options):
    """The body as curl writes it; a body that breaks off makes curl, and so this, fail."""
    return subprocess.run(["curl", "-sS", "--fail", *options, url], check=True, capture_output=True).stdout


def got(url, accepted):
    """What `requests` got, which decodes gzip by itself."""
    answer = requests.get(url, headers={"Accept-Encoding": accepted}, timeout=60)
    answer.raise_for_status()
    coded = answer.headers.get("Content-Encoding", "identity")
    if coded != accepted:
        raise ValueError(f"asked for {accepted} and got {coded}")
    return answer


#: Where the documents have the service.
DOCUMENTED = "http://127.0.0.1:3000"
#: What blocks of JavaScript import.
NODE_PACKAGES = ["apache-arrow@21.1.0"]
#: Prints the rows of `flows`.
PRINT_ROWS = """
const rows = [...flows].map((flow) => Object.values(flow.toJSON ? flow.toJSON() : flow));
process.stdout.write(JSON.stringify(rows, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
"""


def run_block(language, code, folder):
    """Runs a block of the documents; returns its rows."""
    if language == "python":
        names = {}
        exec(compile(code, "docs/reading.md", "exec"), names)
        return rows_of(names["flows"])
    if language == "sh":
        lines = subprocess.run(["bash", "-c", code], cwd=folder, check=True, capture_output=True).stdout
        return rows_of_records(map(json.loads, lines.splitlines()))
    block = folder / "block.mjs"
    block.write_text(code + PRINT_ROWS)
    return list(map(tuple, json.loads(subprocess.run(["node", block], check=True, capture_output=True).stdout)))


def blocks(url, folder):
    """Every block of docs/reading.md: its name, and what returns its rows."""
    page = (ROOT / "docs/reading.md").read_text()
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    if shutil.which("node") and shutil.which("npm"):
        install = ["npm", "install", "--silent", "--prefix", folder, *NODE_PACKAGES]
        subprocess.run(install, check=True, capture_output=True)
    for place, (language, code) in enumerate(found, 1):
        needed = {"sh": ["bash", "jq"], "js": ["node", "npm"]}.get(language, [])
        missing = [name for name in needed if not shutil.which(name)]
        name = f"docs/reading.md, block {place}, {language}"
        if missing:
            print(f"left out: {name}: there is no {' and no '.join(missing)}")
            continue
        code = code.replace(DOCUMENTED, url)
        yield name, lambda language=language, code=code: run_block(language, code, folder)


def arrow_attempts(url, folder):
    """Every way to read Arrow that is tried beside the documents."""
    flows = f"{url}/api/v1/stream/flows.arrow"

    def stream(accepted):
        return io.BytesIO(got(flows, accepted).content)

    for coding in "identity", "gzip":
        yield f"pyarrow over requests, {coding}: arrow", lambda c=coding: rows_of_arrow(
            pyarrow.ipc.open_stream(stream(c))
        )
        yield f"polars over requests, {coding}: arrow", lambda c=coding: rows_of(polars.read_ipc_stream(stream(c)))
    # What is read from `raw` is not decoded.
    plain = {"headers": {"Accept-Encoding": "identity"}, "stream": True, "timeout": 60}
    yield "polars over pyarrow, as it comes: arrow", lambda: rows_of(
        polars.from_arrow(pyarrow.ipc.open_stream(requests.get(flows, **plain).raw))
    )
    path = folder / "flows.arrow"

    def saved():
        path.unlink(missing_ok=True)
        curl(flows, "-o", path)
        return path

    yield "pyarrow from a file: arrow", lambda: rows_of_arrow(pyarrow.ipc.open_stream(saved()))
    yield "polars from a file: arrow", lambda: rows_of(polars.read_ipc_stream(saved()))


def attempts(url, folder):
    """Every way to read that is tried: its name, and what returns rows."""
    flows = f"{url}/api/v1/stream/flows"
    file = {name: str(folder / f"flows.{name}") for name in ("json", "ndjson", "csv", "xml")}
    for name, path in file.items():
        curl(f"{flows}.{name}", "-o", path)
        # As `curl -H 'Accept-Encoding: gzip' -o …` leaves it.
        curl(f"{flows}.{name}", "-H", "Accept-Encoding: gzip", "-o", f"{path}.gz")
        with gzip.open(f"{path}.gz") as coded, open(path, "rb") as plain:
            if coded.read() != plain.read():
                raise SystemExit(f"{name}: gzip holds something else")

    for options in [], ["--compressed"], ["--http1.0"]:
        said = " ".join(["curl", *options])
        yield f"{said}: json", lambda o=options: rows_of_records(json.loads(curl(f"{flows}.json", *o)))
        yield f"{said}: ndjson", lambda o=options: rows_of_records(
            map(json.loads, curl(f"{flows}.ndjson", *o).splitlines())
        )
        yield f"{said}: csv", lambda o=options: rows_of_csv(curl(f"{flows}.csv", *o).decode())

    for coding in "identity", "gzip":
        yield f"requests, {coding}: json", lambda c=coding: rows_of_records(got(f"{flows}.json", c).json())
        yield f"requests, {coding}: ndjson", lambda c=coding: rows_of_records(
            map(json.loads, got(f"{flows}.ndjson", c).iter_lines())
        )
        yield f"requests, {coding}: csv", lambda c=coding: rows_of_csv(got(f"{flows}.csv", c).content.decode())
        yield f"lxml over requests, {coding}: xml", lambda c=coding: rows_of_xml(
            lxml.etree.fromstring(got(f"{flows}.xml", c).content)
        )

    # Ports are text, also where they look like numbers; without a word pandas would guess.
    as_text = dict.fromkeys(TEXTS, str)
    read_json = {"dtype": as_text}
    read_csv = {"dtype": as_text, "keep_default_na": False}
    yield "pandas read_json by URL", lambda: rows_of_frame(pandas.read_json(f"{flows}.json", **read_json))
    yield "pandas read_json by URL, lines", lambda: rows_of_frame(
        pandas.read_json(f"{flows}.ndjson", lines=True, **read_json)
    )
    yield "pandas read_csv by URL", lambda: rows_of_frame(pandas.read_csv(f"{flows}.csv", **read_csv))
    accepts = {"storage_options": {"Accept-Encoding": "gzip"}}
    yield "pandas read_csv by URL, gzip", lambda: rows_of_frame(
        pandas.read_csv(f"{flows}.csv", **read_csv, **accepts)
    )
    yield "pandas read_json by URL, gzip", lambda: rows_of_frame(
        pandas.read_json(f"{flows}.json", **read_json, **accepts)
    )

    def pulled(format, *options):
        """The files of `flows pull`, in the order of their flows."""
        out = folder / f"pulled-{format}{len(options)}"
        command = [FLOWS, "pull", url, "--out", out, "--format", format, "--max-rows", "40000", *options]
        subprocess.run(command, check=True, capture_output=True)
        return sorted(out.glob("flows-*"), key=lambda path: int(path.name.split("-")[2]))

    def fits(schema, record):
        """A record, if `bq load` would take it by this schema."""
        kinds = {"INTEGER": int, "STRING": str}
        for field in schema:
            value = record[field["name"]]
            if type(value) is not kinds[field["type"]] and (value is not None or field["mode"] == "REQUIRED"):
                raise ValueError(f"{field} cannot hold {value!r}")
        return record

    def pulled_lines():
        schema = got(f"{url}/api/v1/schema/bigquery", "identity").json()
        files = pulled("ndjson", "--gzip")
        lines = (line for path in files for line in gzip.open(path, "rt"))
        return rows_of_records(fits(schema, json.loads(line)) for line in lines)

    parquet = [str(path) for path in pulled("parquet")]
    # A pull brings flows in the order of their ids.
    yield "flows pull, ndjson by the schema of BigQuery", lambda: in_order(pulled_lines())
    yield "flows pull, Parquet by pyarrow", lambda: in_order(
        rows_of_frame(pyarrow.concat_tables(map(pyarrow.parquet.read_table, parquet)).to_pandas())
    )
    yield "flows pull, Parquet by DuckDB", lambda: in_order(
        duckdb.sql(f"SELECT {', '.join(FIELDS)} FROM read_parquet({parquet})").fetchall()
    )

    columns = {name: "BIGINT" if kind is int else "VARCHAR" for name, kind in FIELDS.items()}

    def duck(call):
        relation = duckdb.sql(f"SELECT * FROM {call}")
        if relation.columns != list(FIELDS):
            raise ValueError(f"columns {relation.columns}")
        return relation.fetchall()

    for ending in "", ".gz":
        said = f"duckdb{', gzip' if ending else ''}"
        yield f"{said}: read_json", lambda e=ending: duck(f"read_json('{file['json']}{e}', columns={columns})")
        yield f"{said}: read_json, ndjson", lambda e=ending: duck(
            f"read_json('{file['ndjson']}{e}', columns={columns})"
        )
        yield f"{said}: read_csv", lambda e=ending: duck(f"read_csv('{file['csv']}{e}', types={columns})")
        # What it makes of the types by itself, since strings stand in quotes.
        yield f"{said}: read_json, types by itself", lambda e=ending: duck(f"read_json_auto('{file['json']}{e}')")

    yield "lxml from a file", lambda: rows_of_xml(lxml.etree.parse(file["xml"]).getroot())
    yield "lxml from a file, gzip", lambda: rows_of_xml(lxml.etree.parse(f"{file['xml']}.gz").getroot())
    yield "lxml from a file, record by record", lambda: [
        row
        for _, record in lxml.etree.iterparse(file["xml"], tag="record")
        for row in [tuple(kind(field.text or "") for kind, field in zip(FIELDS.values(), record))]
        if record.clear() is None
    ]


def difference(found, expected):
    """Where two lists of rows part, in a line."""
    for place, (one, other) in enumerate(zip(found, expected)):
        if one != other:
            return f"row {place} is {one}, expected {other}"
    return f"{len(found)} rows, expected {len(expected)}"


def is_cut(name, read):
    """Whether a way to read fails where the answer is cut. Prints what it says."""
    try:
        rows = read()
    except Exception as error:
        # The rest may be a page of output.
        said = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        print(f"ok   cut: {name}: {said}")
        return True
    print(f"FAIL cut: {name}: took {len(rows)} rows for all")
    return False


def main():
    failures = 0
    with served(ROWS) as server, contextlib.chdir(server.database.parent):
        folder = server.database.parent
        with sqlite3.connect(server.database) as database:
            expected = database.execute(f"SELECT {', '.join(FIELDS)} FROM flows ORDER BY time, id").fetchall()
        if len(expected) != ROWS:
            raise SystemExit(f"{len(expected)} rows in the database")
        tried = 0
        documented = list(blocks(server.url, folder))
        arrow = list(arrow_attempts(server.url, folder))
        for name, read in [*attempts(server.url, folder), *arrow, *documented]:
            started = time.monotonic()
            try:
                found = read()
                wrong = None if found == expected else difference(found, expected)
            except Exception as error:  # Any failure of a client is a result, not the end.
                wrong = f"{type(error).__name__}: {error}"
            took = time.monotonic() - started
            tried += 1
            failures += wrong is not None
            print(f"{'ok  ' if wrong is None else 'FAIL'} {name} ({took:.1f} s){f': {wrong}' if wrong else ''}")
        print(f"{tried - failures} of {tried} ways to read gave the {ROWS} rows of the database")
        # A value that no format can write, far behind the first page.
        with sqlite3.connect(server.database) as database:
            database.execute("UPDATE flows SET byte_count = 'many' WHERE id = ?", (ROWS - ROWS // 10,))
        failures += sum(not is_cut(name, read) for name, read in [*arrow, *documented])
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
