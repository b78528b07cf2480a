"""A storm of submissions at a real control plane, open loop, latency from the scheduled time.

The server is `causeway up` over SQLite (WAL, synchronous=FULL) in a process of its own; 100
clients, each with one kept connection, live in a generator process. A request is due at its time
whether or not the ones before were answered: a slow server shows in the latencies, not in a lower
load. The
bound measured in the same run is a bare Starlette and uvicorn application that does one durable
SQLite insert per request, under the same generator.

    python bench/submit_storm.py [--jobs 10000] [--rate 500] [--clients 100] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from plant import Plant, cpu_s, plant, rss_mb
from report import Report, quantile, spread
from wire import connect, head_of

JOB = b"name: storm\nresources: {cpus: 1, memory: 1GiB}\nrun: echo hello\n"
P99_MS_MAX = 250
RSS_MB_MAX = 1_000
BATCH_PER_S_MIN = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What one storm looks like."""

    port: int
    path: str
    token: str
    requests: int
    rate: float
    clients: int


def blow(storm: Storm) -> tuple[list[float], dict[int, int], float]:
    """Send the storm from this process. Return latencies in ms, statuses, and seconds to the last
    answer."""
    return asyncio.run(_blow(storm))


async def _blow(storm: Storm) -> tuple[list[float], dict[int, int], float]:
    connections = [await connect(storm.port) for _ in range(storm.clients)]
    latencies_ms: list[float] = []
    statuses: dict[int, int] = {}
    began = time.perf_counter() + 0.2
    plain = head_of("POST", storm.path, token=storm.token)

    async def client(number: int) -> None:
        connection = connections[number]
        for index in range(number, storm.requests, storm.clients):
            due = began + index / storm.rate
            wait_s = due - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            head = plain + b"idempotency-key: storm-%d\r\n" % index
            status, _ = await connection.ask(head, JOB)
            latencies_ms.append((time.perf_counter() - due) * 1000)
            statuses[status] = statuses.get(status, 0) + 1

    await asyncio.gather(*(client(number) for number in range(storm.clients)))
    for connection in connections:
        connection.close()
    return latencies_ms, statuses, time.perf_counter() - began


def send(storm: Storm) -> tuple[list[float], dict[int, int], float]:
    """Run the storm in a process of its own."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(blow, storm).result()


def bare(database: Path, port: int) -> None:
    """The bound: a server that makes one durable insert per request and nothing else."""
    import sqlite3

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, body TEXT)")

    async def post(request: Request) -> Response:
        db.execute("INSERT INTO jobs (body) VALUES (?)", ((await request.body()).decode(),))
        return Response(b"{}", 201, media_type="application/json")

    app = Starlette(routes=[Route("/v1/jobs", post, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def documents_of(language: str, size: int) -> list[str]:
    """Return different documents, no two of which the server can read as one."""
    if language == "YAML":
        return [JOB.decode().replace("storm", f"batch-{n}") for n in range(size)]
    asked = {"cpus": 1, "memory": "1GiB"}
    job = {"resources": asked, "run": "echo hello"}
    return [json.dumps({"name": f"batch-{n}", **job}) for n in range(size)]


def batches(
    ran: Plant, centre: psutil.Process, report: Report, *, size: int = 500, count: int = 20
) -> None:
    """Submit through the batch call, one batch after another, in both languages."""
    for language in ("YAML", "JSON"):
        body = "\n---\n".join(documents_of(language, size))
        rates = []
        served_s, asked_s = cpu_s(centre), time.process_time()
        for _ in range(count):
            began = time.perf_counter()
            made = ran.call("POST", "/v1/jobs/batch", content=body)
            rates.append(len(made["ids"]) / (time.perf_counter() - began))
        served_s, asked_s = cpu_s(centre) - served_s, time.process_time() - asked_s
        per_job_us = 1e6 / (count * size)
        report.row(
            f"batch submit, {count} batches of {size} different {language} documents",
            measured=f"{spread(rates, 'jobs/s', 0)}; processor time per job: "
            f"server {served_s * per_job_us:.0f} us, client {asked_s * per_job_us:.0f} us",
            target=f">= {BATCH_PER_S_MIN:,}/s",
            holds=statistics.median(rates) >= BATCH_PER_S_MIN,
        )


def storm_of(asked: argparse.Namespace, *, port: int, token: str) -> Storm:
    """Return the storm that was asked for, at a server."""
    return Storm(
        port=port,
        path="/v1/jobs",
        token=token,
        requests=asked.jobs,
        rate=asked.rate,
        clients=asked.clients,
    )


def ours(asked: argparse.Namespace, report: Report) -> float:
    """Measure the control plane; return its p99."""
    with plant() as ran:
        centre = ran.start_centre()
        latencies, statuses, took_s = send(storm_of(asked, port=ran.port, token=ran.token))
        counted = ran.call("GET", "/v1/overview")["jobs"] if asked.overview else None
        rss = rss_mb(centre)
        p99 = quantile(latencies, 0.99)
        accepted = statuses.get(201, 0)
        bad = {status: n for status, n in statuses.items() if status >= 500}
        report.row(
            f"{asked.jobs:,} jobs, {asked.clients} clients, {asked.rate:g}/s offered: accepted",
            measured=f"{accepted:,}, 5xx: {sum(bad.values())}, in {took_s:.1f} s",
            target="all, no 5xx",
            holds=accepted == asked.jobs and not bad,
        )
        report.row(
            "latency from the scheduled time",
            measured=f"p50 {statistics.median(latencies):.1f} ms, p99 {p99:.1f} ms, "
            f"max {max(latencies):.1f} ms",
            target=f"p99 < {P99_MS_MAX} ms",
            holds=p99 < P99_MS_MAX,
        )
        report.row(
            "server RSS after the storm",
            measured=f"{rss:.0f} MB",
            target=f"< {RSS_MB_MAX:,} MB",
            holds=rss < RSS_MB_MAX,
        )
        if counted is not None:
            report.say(f"jobs by state afterwards: {counted}")
        batches(ran, centre, report)
        return p99


def bound(asked: argparse.Namespace, report: Report, p99: float) -> None:
    """Measure the bare server under the same storm."""
    with plant() as ran:
        here = str(Path(__file__).resolve())
        ran.run("bare", sys.executable, here, "--bare", str(ran.folder / "x.db"), str(ran.port))
        ran.until("the bare server listens", 20, lambda: _listens(ran.port))
        latencies, statuses, _ = send(storm_of(asked, port=ran.port, token=""))
        bare_p99 = quantile(latencies, 0.99)
        report.row(
            "bound: bare Starlette and uvicorn, one durable insert per request",
            measured=f"p50 {statistics.median(latencies):.1f} ms, p99 {bare_p99:.1f} ms, "
            f"max {max(latencies):.1f} ms ({json.dumps(statuses)}); ours / bound at p99: "
            f"{p99 / bare_p99:.1f}",
        )


def _listens(port: int) -> bool:
    return any(
        c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN
        for c in psutil.net_connections("tcp")
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--overview", action="store_true")
    parser.add_argument("--bare", nargs=2, metavar=("DATABASE", "PORT"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if asked.bare:
        bare(Path(asked.bare[0]), int(asked.bare[1]))
        return 0
    report = Report("submit_storm", "Submit storm")
    p99 = ours(asked, report)
    bound(asked, report, p99)
    report.say(
        "`causeway up`, SQLite WAL with synchronous=FULL, default settings; every request carries "
        "its own idempotency key; generator in one process of its own, asyncio without a library."
    )
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
