"""The component behind the test host, for tests that are clients in Python: a database, a server, its log.

Knows the two commands that are built (`flows` and `test-host`) and nothing of what is asked of the server.
"""

import contextlib
import os
import pathlib
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOWS = ROOT / "target/debug/flows"
TEST_HOST = ROOT / "target/debug/test-host"
#: The manifest of the component.
MANIFEST = os.environ.get("MANIFEST", "spin.toml")


def make_database(path, rows):
    """Loads generated flows, as `make up` does."""
    generated = subprocess.Popen([FLOWS, "generate", "--rows", str(rows)], stdout=subprocess.PIPE)
    subprocess.run([FLOWS, "load", "--db", path, "-"], stdin=generated.stdout, check=True, capture_output=True)
    if generated.wait() != 0:
        raise SystemExit("flows generate failed")


class Served:
    """A running server: where it listens, its database, and the lines that it has logged."""

    def __init__(self, url, database, log):
        self.url = url
        self.database = database
        self.log = log


@contextlib.contextmanager
def served(rows, **variables):
    """Serves generated flows on a free port, with Spin variables set, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        database = pathlib.Path(folder) / "sqlite_db.db"
        make_database(database, rows)
        settings = {f"SPIN_VARIABLE_{name.upper()}": value for name, value in variables.items()}
        command = [TEST_HOST, "up", "--from", MANIFEST, "--listen", "127.0.0.1:0", "--state-dir", folder]
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            line = server.stdout.readline()
            if not line.startswith("Serving http://"):
                raise SystemExit(f"the test host did not start: {line}{server.stderr.read()}")
            log = []
            # Read as it is written, or a full pipe would stop the server.
            threading.Thread(target=lambda: log.extend(server.stderr), daemon=True).start()
            threading.Thread(target=server.stdout.read, daemon=True).start()
            yield Served(line.split()[1], database, log)
        finally:
            server.terminate()
            server.wait()
