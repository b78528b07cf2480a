"""Test doubles for the shell: a centre on loopback that speaks the protocol truthfully, an engine
of plain child processes, a transfer into a folder. None of them is ever shipped."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from causeway.model.errors import NotFound, Unavailable
from causeway.model.islands import Inventory
from causeway.model.jobs import StopIntent
from causeway.model.protocol import (
    AttemptReport,
    JoinReply,
    JoinRequest,
    Phase,
    ReleaseCommand,
    SessionReply,
    SessionRequest,
    StartCommand,
    StopCommand,
    SyncReply,
    SyncRequest,
    TickAck,
)
from causeway.ports.artifacts import Moved
from causeway.ports.engine import Condition, Launch, Status

ISLAND = "urn:cpi:test:island:alba"
TOKEN = "join-once"
Key = tuple[str, int]


class SystemClock:
    """The real clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


class SystemChance:
    """Real chance."""

    def bits(self, count: int) -> int:
        return int.from_bytes(os.urandom((count + 7) // 8)) >> (-count % 8)


class CentreDouble:
    """One island's centre: what it should run, what it said, and what was booked."""

    def __init__(self, *, lease_ms: int = 4_000, hold_ms: int = 300) -> None:
        self.lease_ms, self.hold_ms = lease_ms, hold_ms
        self.changed = threading.Condition()
        self.public_key = ""
        self.joins_left = 1
        self.sessions = 0
        self.token = ""
        self.seq = 0
        self.version = 0
        self.wanted: dict[Key, StartCommand] = {}
        self.stops: dict[Key, StopCommand] = {}
        self.reports: dict[Key, AttemptReport] = {}
        self.steps: dict[Key, list[int]] = {}
        self.ticks: dict[Key, int] = {}
        self.ended: dict[Key, AttemptReport] = {}
        self.logs: dict[tuple[str, int, str], bytes] = {}
        self.inventories: list[Inventory] = []
        self.left = False
        self.syncs = 0
        self.deaf = False
        self.refuse_syncs = 0
        centre = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, value, held_ms = centre.answer(
                    self.path, body, self.headers.get("Authorization", "")
                )
                if centre.deaf:
                    self.close_connection = True
                    return
                data = msgspec.json.encode(value)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("x-held-ms", str(held_ms))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # -- what a test asks for

    def start(self, command: StartCommand) -> None:
        with self.changed:
            self.wanted[(command.job, command.fence)] = command
            self._bump()

    def stop(self, job: str, fence: int, grace_ms: int = 5_000) -> None:
        with self.changed:
            self.stops[(job, fence)] = StopCommand(
                job=job, fence=fence, intent=StopIntent.PREEMPT, grace_ms=grace_ms
            )
            self._bump()

    def _bump(self) -> None:
        self.version += 1
        self.changed.notify_all()

    # -- the protocol

    def answer(self, path: str, body: bytes, bearer: str) -> tuple[int, object, int]:
        where = urllib.parse.urlsplit(path)
        if where.path == "/v1/agent/join":
            return self._join(msgspec.json.decode(body, type=JoinRequest))
        if where.path == "/v1/agent/session":
            return self._open(msgspec.json.decode(body, type=SessionRequest))
        if bearer != f"Bearer {self.token}":
            return _error(401, "unauthenticated", "the session is over")
        if where.path == "/v1/agent/logs":
            return self._log(dict(urllib.parse.parse_qsl(where.query)), body)
        if where.path == "/v1/agent/sync":
            return self._sync(msgspec.json.decode(body, type=SyncRequest), bearer)
        return _error(404, "not_found", path)

    def _join(self, wish: JoinRequest) -> tuple[int, object, int]:
        if wish.public_key != self.public_key:
            if wish.token != TOKEN or not self.joins_left:
                return _error(401, "unauthenticated", "the join token is not valid")
            self.joins_left -= 1
            self.public_key = wish.public_key
        terms = {"lease_ms": self.lease_ms, "hold_ms": self.hold_ms, "skew_ms": 500}
        return 200, JoinReply(island=ISLAND, **terms), 0

    def _open(self, wish: SessionRequest) -> tuple[int, object, int]:
        said = f"causeway-session\n{wish.island}\n{wish.at_ms}\n{wish.nonce}".encode()
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(self.public_key))
        key.verify(base64.b64decode(wish.signature), said)
        with self.changed:
            self.sessions += 1
            self.token, self.seq = f"session-{self.sessions}", 0
        terms = {"lease_ms": self.lease_ms, "hold_ms": self.hold_ms, "skew_ms": 500}
        return 200, SessionReply(session=self.sessions, token=self.token, **terms), 0

    def _sync(self, wish: SyncRequest, bearer: str) -> tuple[int, object, int]:
        with self.changed:
            self.syncs += 1
            if self.refuse_syncs:
                self.refuse_syncs -= 1
                return _error(409, "conflict", "overtaken")
            if wish.seq <= self.seq:
                return _error(409, "conflict", f"sync {wish.seq} was overtaken by {self.seq}")
            self.seq = wish.seq
            if wish.inventory is not None:
                self.inventories.append(wish.inventory)
            self.left = wish.leaving
            release, acks = self._book(wish)
            now = str(self.version)
            held_ms = 0
            if wish.known == now and not release and not acks:
                began = time.monotonic()
                self.changed.wait_for(lambda: str(self.version) != now, timeout=self.hold_ms / 1000)
                held_ms = int((time.monotonic() - began) * 1000)
            reported = {(r.job, r.fence) for r in wish.reports}
            start = [c for k, c in self.wanted.items() if k not in self.reports]
            stop = [c for k, c in self.stops.items() if k in reported and k not in self.ended]
            reply = SyncReply(
                seq=wish.seq,
                version=str(self.version),
                lease_ms=self.lease_ms,
                start=tuple(start),
                stop=tuple(stop),
                release=tuple(release),
                acks=tuple(acks),
            )
            return 200, reply, held_ms

    def _book(self, wish: SyncRequest) -> tuple[list[ReleaseCommand], list[TickAck]]:
        release, acks = [], []
        for report in wish.reports:
            key = (report.job, report.fence)
            if key not in self.wanted or key in self.ended:
                release.append(ReleaseCommand(job=report.job, fence=report.fence))
                continue
            self.reports[key] = report
            self.steps.setdefault(key, []).extend(p.step for p in report.progress)
            for tick in report.ticks:
                if tick.seq == self.ticks.get(key, 0):
                    self.ticks[key] = tick.seq + 1
            if report.ticks:
                acks.append(TickAck(job=key[0], fence=key[1], ticks=self.ticks[key]))
            if report.final:
                self.ended[key] = report
                release.append(ReleaseCommand(job=report.job, fence=report.fence))
        return release, acks

    def _log(self, query: dict[str, str], body: bytes) -> tuple[int, object, int]:
        key = (query["job"], int(query["fence"]), query["stream"])
        with self.changed:
            kept = self.logs.get(key, b"")
            offset = int(query["offset"])
            if offset <= len(kept):
                self.logs[key] = kept + body[len(kept) - offset :]
            return 200, {"next": len(self.logs.get(key, b""))}, 0


def _error(status: int, code: str, message: str) -> tuple[int, object, int]:
    return status, {"error": {"code": code, "message": message}}, 0


class ProcessEngine:
    """Runs `run` with /bin/sh; stops with SIGTERM, then SIGKILL."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.children: dict[Key, tuple[subprocess.Popen[bytes], int]] = {}
        self.stopping: dict[Key, float] = {}
        self.over: dict[Key, Status] = {}
        self.closed = False
        self.lock = threading.Lock()

    outlives = False

    def on_change(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def probe(self) -> Inventory:
        return self.inventory

    def condition(self) -> Condition:
        return Condition()

    def grant(self, until_ms: int) -> None:
        raise AssertionError("nothing outlives this agent")

    def start(self, launch: Launch) -> None:
        logs = launch.folder / "logs"
        with (logs / "rank-0.stdout").open("ab") as out, (logs / "rank-0.stderr").open("ab") as err:
            child = subprocess.Popen(
                ["/bin/sh", "-c", launch.spec.run],
                cwd=launch.folder / "work",
                env=dict(launch.envs),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.children[(launch.job, launch.fence)] = (child, SystemClock().monotonic_ms())

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        child = self.children.get((job, fence))
        if child is None or child[0].poll() is not None:
            return
        self.stopping[(job, fence)] = time.monotonic() + grace_ms / 1000
        self._signal(child[0], signal.SIGTERM if grace_ms else signal.SIGKILL)

    def poll(self) -> Mapping[Key, Status]:
        seen: dict[Key, Status] = {}
        for key, (child, began_ms) in self.children.items():
            if key in self.stopping and time.monotonic() > self.stopping[key]:
                self._signal(child, signal.SIGKILL)
            if key not in self.over and child.poll() is not None:
                self.over[key] = self._ended(key, child.returncode, began_ms)
            running = Status(phase=Phase.RUNNING, started_monotonic_ms=began_ms, pids=(child.pid,))
            seen[key] = self.over.get(key, running)
        return seen

    def _ended(self, key: Key, code: int, began_ms: int) -> Status:
        phase = Phase.SUCCEEDED if code == 0 else Phase.FAILED
        if code and key in self.stopping:
            phase = Phase.STOPPED
        return Status(
            phase=phase,
            exit_code=code,
            started_monotonic_ms=began_ms,
            ended_monotonic_ms=SystemClock().monotonic_ms(),
        )

    def forget(self, job: str, fence: int) -> None:
        child = self.children.pop((job, fence), None)
        if child is not None:
            self._signal(child[0], signal.SIGKILL)
            child[0].wait()

    def close(self) -> None:
        self.closed = True
        for key in list(self.children):
            self.forget(*key)

    def _signal(self, child: subprocess.Popen[bytes], number: int) -> None:
        if child.poll() is None:
            os.killpg(child.pid, number)


class FolderTransfer:
    """Keeps artefacts as folders by digest of their content."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.fail = 0
        self.pushed: list[tuple[str, str, int]] = []

    def push(
        self,
        folder: Path,
        *,
        kind: str,
        paths: Sequence[str] = (),
        meta: Mapping[str, str | int] | None = None,
        job: str = "",
        fence: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> Moved:
        if self.fail:
            self.fail -= 1
            raise Unavailable("the wire was cut")
        chosen = [folder / path for path in paths] or [folder]
        files = sorted(
            file
            for one in chosen
            for file in (one.rglob("*") if one.is_dir() else [one])
            if file.is_file()
        )
        said = json.dumps([kind, dict(meta or {}), [str(f.relative_to(folder)) for f in files]])
        digest = hashlib.sha256(said.encode() + b"".join(f.read_bytes() for f in files))
        name = "sha256:" + digest.hexdigest()
        for file in files:
            target = self.store / name / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        size = sum(f.stat().st_size for f in files)
        self.pushed.append((kind, job, fence))
        return Moved(artifact=name, bytes=size, moved_bytes=size, seconds=0.1)

    def pull(
        self, artifact: str, folder: Path, *, stop: Callable[[], bool] = lambda: False
    ) -> Moved:
        if not (self.store / artifact).is_dir():
            raise NotFound(f"there is no artefact {artifact}")
        shutil.copytree(self.store / artifact, folder, dirs_exist_ok=True)
        return Moved(artifact=artifact, bytes=1, moved_bytes=1, seconds=0.1)

    def bring(self, artifact: str, *, stop: Callable[[], bool] = lambda: False) -> Moved:
        return Moved(artifact=artifact, bytes=1, moved_bytes=0, seconds=0.1)


def with_spec(command: StartCommand, **changes: object) -> StartCommand:
    """Return the command with parts of its spec changed."""
    return replace(command, spec=replace(command.spec, **changes))  # type: ignore[arg-type]
