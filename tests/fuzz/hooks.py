"""What schemathesis cannot read out of the OpenAPI document: where cursors come from, and a lock that is shut.

A cursor is opaque and valid only with the question it came from, and a text that is generated never is one.
So real ones are fetched: from the `Link` of limited answers to the plain question, which asks for all flows.

- The format `flow-window-cursor` gives these cursors.
- A *valid* case that has one loses the other parameters of the question (window, order, filters), since it
  would be another question with them. `limit`, `format` and `end` stay: they may change from portion to
  portion.
- A *valid* case of a `width` loses the window, and has no bucket shorter than 7 seconds.
- A *valid* case names the table's own lineage, no `after_id` beyond its newest flow, and no `If-Match`: what is
  generated for these is right in its form and gets a 410 or 412, which would hide what the case is about.
- A case that is meant to be *invalid* stays as it was generated, its cursor beside other parameters or not:
  a 400 is what it has to get in either case.
- A case that is meant to be invalid for its query alone, and is valid once it is written into a URL, is
  dropped: `src_comp` as the number 361, the boolean false or null is no array of texts, but on the wire each
  is one text: `src_comp=361`, `src_comp=false`, `src_comp=null`.

With FLOW_WINDOW_TOKEN set the server asks for that token, and the document's "a token or none", which is
true of servers in general, becomes "a token": now an answer without one is a failure.
"""

import os
import re
import urllib.parse
import urllib.request

import requests
import schemathesis
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

URL = os.environ["FLOW_WINDOW_URL"]
TOKEN = os.environ.get("FLOW_WINDOW_TOKEN")

#: Parameters that make a question another one.
QUESTION = {
    "scanned_after",
    "scanned_before",
    "after_id",
    "src_comp",
    "dst_comp",
    "src_port",
    "dst_port",
    "protocol",
}


#: With `width` these may make more buckets than there may be, or say their number a second time.
WINDOW = {"scanned_after", "scanned_before", "buckets"}


def fetch(query):
    request = urllib.request.Request(f"{URL}/api/v1/stream/flows?{query}")
    if TOKEN:
        request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request) as answer:
        return answer.headers, answer.read()


def fetch_headers(limit):
    return fetch(f"limit={limit}")[0]


def fetch_cursor(limit):
    link = fetch_headers(limit)["Link"]
    return link.removeprefix("<").removesuffix('>; rel="next"').partition("cursor=")[2]


# Inside the first page, at its end, in a later page, and at the last flow but one.
CURSORS = [fetch_cursor(limit) for limit in (1, 2, 99, 500, 501, 2500, 4999)]

#: The header line of an empty answer.
COLUMNS = fetch("limit=0&format=csv")[1].decode().strip().split(",")

#: No limit is that large, so that the answer is whole.
WHOLE = fetch_headers(2**63 - 1)
LINEAGE = WHOLE["Flow-Lineage"]
NEWEST = int(WHOLE["Flow-Watermark"])

schemathesis.openapi.format("flow-window-cursor", strategies.sampled_from(CURSORS))


def of_one_question(query):
    return {name: value for name, value in query.items() if name not in QUESTION}


def of_few_buckets(query):
    others = {name: value for name, value in query.items() if name not in WINDOW}
    return {**others, "width": max(int(query["width"]), 7)}


@schemathesis.hook
def map_case(context, case):
    if case.meta is not None and case.meta.generation.mode != GenerationMode.POSITIVE:
        return case
    if case.headers:
        case.headers.pop("If-Match", None)
    if isinstance(case.query, dict):
        if case.query.get("cursor") in CURSORS:
            case.query = of_one_question(case.query)
        if "lineage" in case.query:
            case.query["lineage"] = LINEAGE
        if int(case.query.get("after_id", 0)) > NEWEST:
            del case.query["after_id"]
        if "width" in case.query:
            case.query = of_few_buckets(case.query)
    return case


def is_integer(text, least=-(2**63)):
    return re.fullmatch(r"-?[0-9]+", text) is not None and least <= int(text) < 2**63


def is_columns(names):
    return len(set(names)) == len(names) and set(names) <= set(COLUMNS)


#: What one value of a parameter has to look like in a URL.
VALID = {
    "scanned_after": is_integer,
    "scanned_before": is_integer,
    "after_id": is_integer,
    "limit": lambda text: is_integer(text, 0),
    "buckets": lambda text: is_integer(text, 1) and int(text) <= 10_000,
    "width": lambda text: is_integer(text, 1),
    "by": lambda text: text in REPEATABLE,
    "order": lambda text: text in ("flows", "packets", "bytes"),
    "cursor": lambda text: text in CURSORS,
    "format": lambda text: text in ("json", "xml", "ndjson", "csv", "arrow"),
    "columns": lambda text: is_columns(text.split(",")),
    "end": lambda text: text == "1",
    "lineage": lambda text: re.fullmatch("[0-9a-f]{16}", text) is not None,
    "src_comp": bool,
    "dst_comp": bool,
    "src_port": bool,
    "dst_port": bool,
    "protocol": is_integer,
}
REPEATABLE = {"src_comp", "dst_comp", "src_port", "dst_port", "protocol"}


def query_of(case):
    """The names and texts of the query as they go over the wire, which is all that the server can judge."""
    sent = case.as_transport_kwargs(base_url=URL)
    url = requests.Request(sent["method"], sent["url"], params=sent.get("params")).prepare().url
    query = urllib.parse.urlsplit(url).query
    return urllib.parse.parse_qsl(query, keep_blank_values=True, errors="strict")


def is_valid_query(query):
    names = [name for name, _ in query]
    known = all(name in VALID and VALID[name](text) for name, text in query)
    once = all(name in REPEATABLE or names.count(name) == 1 for name in names)
    # Either is a 400 that no schema can say.
    divided_once = not {"buckets", "width"} <= set(names)
    one_question = "cursor" not in names or QUESTION.isdisjoint(names)
    return known and once and one_question and divided_once


@schemathesis.hook
def filter_case(context, case):
    if case.meta is None or case.meta.generation.mode != GenerationMode.NEGATIVE:
        return True
    parts = case.meta.components.items()
    invalid = {place for place, part in parts if part.mode == GenerationMode.NEGATIVE}
    if invalid != {ParameterLocation.QUERY}:
        return True
    try:
        return not is_valid_query(query_of(case))
    except UnicodeError:
        return True


@schemathesis.hook
def before_load_schema(context, raw_schema):
    if TOKEN:
        raw_schema["security"] = [{"token": []}]
