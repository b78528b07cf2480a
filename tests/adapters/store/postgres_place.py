"""A PostgreSQL server of one's own on a Unix socket, for tests and benchmarks.

The cluster lives as long as the `with` block. Nothing there cuts its power, so it does not sync.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _as_postgres() -> dict[str, object]:
    """PostgreSQL refuses to run as root; then it runs as its own user."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _programs() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4])
    )
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise RuntimeError(
            "PostgreSQL is not installed: no initdb in /usr/lib/postgresql or on the PATH"
        )
    return found[-1].parent if found else Path(str(on_path)).parent


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server; yields `postgresql://...{}...`, to be completed with a database's name."""
    folder = Path(tempfile.mkdtemp(prefix="cw-pg-"))
    try:
        programs, data = _programs(), folder / "data"
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        as_user = _as_postgres()
        _run(
            [
                *(str(programs / "initdb"), "-D", str(data), "-U", "causeway", "-A", "trust"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=icu"),
                *("--icu-locale=en", "--no-sync"),
            ],
            as_user,
        )
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=60"
        control = [str(programs / "pg_ctl"), "-D", str(data), "-l", str(folder / "log")]
        _run([*control, "-w", "-o", options, "start"], as_user)
        try:
            yield f"postgresql://causeway@/{{}}?host={folder}"
        finally:
            _run([*control, "-m", "immediate", "-w", "stop"], as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: str, name: str) -> str:
    """Make an empty database; return its URL."""
    import psycopg

    with psycopg.connect(server.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.format(name)


def _run(command: list[str], as_user: dict[str, object]) -> None:
    done = subprocess.run(  # type: ignore[call-overload]
        command, cwd="/", capture_output=True, text=True, timeout=60, **as_user
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr}")
