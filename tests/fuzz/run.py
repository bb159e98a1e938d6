"""Has schemathesis ask a server whatever its OpenAPI document allows, and much that it does not.

Twice: open, and locked by a token. All checks are on; a failure of any is a failure here. The server's own
log tells how many requests reached it. FUZZ_EXAMPLES sets how many cases each operation gets. The cases are
the same in every run, so that a change is judged by what it does and not by chance; FUZZ_SEED asks others:
another number, or `new`.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# No folders of bytecode among the sources.
sys.dont_write_bytecode = True

from served import served  # noqa: E402

#: Flows in the database: more than a page, so that answers are streamed too.
ROWS = 5000
#: Generated requests that the two runs together must make.
LEAST = 2000
SEED = os.environ.get("FUZZ_SEED", "1")
SCHEMATHESIS = pathlib.Path(sys.executable).parent / "schemathesis"


def fuzz(examples, token):
    """Runs schemathesis once; returns whether it found nothing, and how often each status was answered
    without and with a cursor."""
    variables = {"log_requests": "on", **({"api_token": token} if token else {})}
    with served(ROWS, **variables) as server:
        environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"),
            "FLOW_WINDOW_URL": server.url,
            "FLOW_WINDOW_TOKEN": token,
        }
        command = [SCHEMATHESIS, "run", f"{server.url}/api/v1/openapi.json", "--checks", "all"]
        command += ["--max-examples", str(examples), "--generation-database", "none", "--no-color"]
        command += ["--continue-on-failure"]
        if token:
            command += ["--header", f"Authorization: Bearer {token}"]
        if SEED != "new":
            command += ["--seed", SEED]
        # Beside the database, since it leaves folders where it runs.
        passed = subprocess.run(command, env=environment, cwd=server.database.parent).returncode == 0
        lines = [re.match(r"(\S+ .*) (\d{3}) \d+ flows \d+ bytes", line) for line in server.log]
        asked = [(line[2], "cursor=" in line[1]) for line in lines if line]
        return passed, collections.Counter(asked)


def main():
    examples = int(os.environ.get("FUZZ_EXAMPLES", "150"))
    results = {"open": fuzz(examples, ""), "locked": fuzz(examples // 3, "s3cret")}
    total = 0
    for name, (_, asked) in results.items():
        statuses = collections.Counter()
        for (status, _), count in asked.items():
            statuses[status] += count
        continued = sum(count for (status, cursor), count in asked.items() if cursor and status == "200")
        print(f"{name}: {statuses.total()} requests, by status {dict(sorted(statuses.items()))}")
        print(f"{name}: {continued} of the 200s by a cursor")
        total += statuses.total()
        if not continued or (name == "locked") != bool(statuses["401"]):
            sys.exit(f"{name}: expected cursors that are taken, and a 401 where there is a lock and nowhere else")
    print(f"{total} requests in all")
    if total < LEAST:
        sys.exit(f"expected {LEAST} at least; FUZZ_EXAMPLES raises the number")
    sys.exit(0 if all(passed for passed, _ in results.values()) else 1)


if __name__ == "__main__":
    main()
