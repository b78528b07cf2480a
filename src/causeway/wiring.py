"""The only place that chooses adapters: what a control plane and an island are made of.

<state>/causeway.sqlite3   the store, unless a PostgreSQL URL is given
<state>/content/           chunks and manifests of artefacts
<state>/logs/              logs of attempts
<state>/archive/           old events, ticks and progress that left the store
<state>/secret.key         key that seals projects' secrets (0600)
<state>/grants.key         key that signs what islands may fetch from one another (0600)
<state>/operator.token     the first operator's token (0600)

Several control planes of one PostgreSQL store share the state folder too (on one machine, or a
network file system): only the one that leads answers requests, so only it reads and writes there,
and the three secret files are made once, by whichever process comes first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causeway import law, recover
from causeway.control import settings as numbers
from causeway.control import tenancy
from causeway.control.parts import Parts
from causeway.control.plane import Plane
from causeway.control.service import Service
from causeway.control.state import Tx
from causeway.control.upkeep import Upkeep
from causeway.control.webhooks import Webhooks
from causeway.model.errors import InvalidInput, NotFound
from causeway.model.fleet import PoolView, WaitingJob
from causeway.model.islands import Profile
from causeway.model.reasons import Reason
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Engine
from causeway.ports.store import Store

if TYPE_CHECKING:
    # The catalogue brings NumPy along, which an island's agent has no use for.
    from causeway.discover import Filter

DEFAULT_TENANT = "default"
ENGINES = ("local", "slurm", "ray", "kubernetes")
"""What may run the work of an island."""


def centre(*, state: Path, store_url: str = "") -> Parts:
    """Return the parts of a control plane over its state folder, nothing started yet."""
    from cryptography.fernet import Fernet

    from causeway.adapters.content import FolderStore
    from causeway.adapters.logs import FolderLogs
    from causeway.adapters.store import open_store
    from causeway.adapters.tidying import DAY_MS, tidy
    from causeway.adapters.webhooks import WebhookCalls
    from causeway.adapters.world import SystemChance, SystemClock
    from causeway.control.granting import Granting, fresh_key
    from causeway.twin.forecasting import Forecaster

    state.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    settings = numbers.from_environment(os.environ)
    opened = open_store(store_url or _sqlite(state))
    store = _armed(opened)
    plane = Plane(
        store, clock, SystemChance(), settings=settings, verdicts=verdicts, matches=matches
    )
    sealer = Fernet(_kept(state / "secret.key", lambda: Fernet.generate_key().decode()).encode())
    service = Service(plane, on_lead=_operator(state))
    logs = FolderLogs(state / "logs")
    chunks = FolderStore(state / "content", clock=clock)

    def upkeep() -> Mapping[str, int]:
        return tidy(
            opened,
            chunks=chunks,
            logs=logs,
            folder=state / "archive",
            before_ms=clock.now_ms() - settings.keep_days * DAY_MS,
            issuer=settings.issuer,
        )

    return Parts(
        plane=plane,
        service=service,
        store=store,
        logs=logs,
        chunks=chunks,
        clock=clock,
        settings=settings,
        seal=sealer.encrypt,
        unseal=sealer.decrypt,
        forecast=Forecaster(),
        faults=faults(),
        scratch=state,
        upkeep=Upkeep(service=service, act=upkeep),
        grants=Granting.of(_kept(state / "grants.key", fresh_key)),
        webhooks=Webhooks(
            service=service,
            store=store,
            clock=clock,
            post=WebhookCalls(private=bool(settings.webhooks_private)),
        ),
    )


def _sqlite(state: Path) -> str:
    return f"sqlite:///{(state / 'causeway.sqlite3').absolute()}"


def archive(state: Path, *, store_url: str = "", older_s: float) -> Mapping[str, int]:
    """Move what has been over for so long from the store into <state>/archive; return the number
    of rows by table. The control plane may be running meanwhile."""
    from causeway.adapters.store import archive as move
    from causeway.adapters.store import open_store
    from causeway.adapters.world import SystemClock

    if not store_url and not (state / "causeway.sqlite3").is_file():
        raise NotFound(f"there is no store in {state}", hint="give --state or --store")
    before_ms = SystemClock().now_ms() - round(older_s * 1000)
    store = open_store(store_url or _sqlite(state))
    try:
        return move(store, before_ms=before_ms, folder=state / "archive").rows
    finally:
        store.close()


def _armed(store: Store) -> Store:
    """Put a crash point around the store when a crash test asks for one."""
    point = os.environ.get("CAUSEWAY_CRASH_AT")
    if not point:
        return store
    from causeway.adapters.store.crashing import CrashingStore, CrashPoint

    return CrashingStore(store, CrashPoint.parse(point))


def _operator(state: Path) -> Callable[[Tx], None]:
    """Return the command that makes sure of the first operator's token."""
    import secrets

    secret = _kept(
        state / "operator.token", lambda: f"cw_{secrets.token_hex(8)}_{secrets.token_hex(24)}"
    )
    return lambda tx: tenancy.install_operator(tx, secret, tenant=DEFAULT_TENANT)


def _kept(path: Path, make: Callable[[], str]) -> str:
    """Return a secret file's text; make it, readable by its owner alone, when it is not there.

    It gets its name by a hard link, which fails where the name exists: of two control planes that
    start at once, both then read the one that was first.
    """
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            # Another process was first; its secret is the one that counts.
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


@lru_cache(maxsize=1)
def _rules() -> law.Rules:
    return law.parse(files("causeway.law").joinpath(law.RULES_FILE).read_text())


@lru_cache(maxsize=1)
def faults() -> tuple[recover.Fault, ...]:
    """Return the fault library."""
    return recover.parse(files("causeway.recover").joinpath(recover.FAULTS_FILE).read_text())


def verdicts(
    waiting: Sequence[WaitingJob], pools: Sequence[PoolView], now_ms: int
) -> Mapping[str, Mapping[str, Reason]]:
    """Ask the law room about every waiting job that carries data labels."""
    return law.verdicts(waiting, pools, _rules(), now_ms=now_ms)


@lru_cache(maxsize=4_096)
def _filter(expression: str) -> Filter:
    from causeway.discover import compile_filter

    return compile_filter(expression)


def matches(expression: str, pool: PoolView) -> bool:
    """Say whether an offer is inside a job's `where` expression."""
    return bool(_filter(expression).matches(pool))


def read_profile(path: Path) -> Profile:
    """Read an island's profile from TOML, or raise `InvalidInput` that names the place. Its table
    `[engine]` says what runs the work there, and is no part of what the centre is told."""
    import msgspec

    plain = _toml(path)
    plain.pop("engine", None)
    known = set(Profile.__dataclass_fields__)
    for name in plain:
        if name not in known:
            raise InvalidInput(
                f"unknown field {name!r}",
                where=f"$.{name}",
                hint=f"one of: {', '.join(sorted(known))}",
            )
    try:
        return msgspec.convert(plain, Profile, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error), where=str(path)) from None


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"the profile cannot be read: {error}", where=str(path)) from None


def open_engine(profile: Path, *, root: Path, clock: Clock, visible: Sequence[Path] = ()) -> Engine:
    """Open the engine that the table `[engine]` of a profile names; the local one without it.

    Raises `InvalidInput` when the table names no engine there is, or the engine does not take it.
    """
    settings = _toml(profile).get("engine", {})
    settings = dict(settings) if isinstance(settings, dict) else {"kind": settings}
    kind = settings.pop("kind", "local")
    # For the conformance suite alone.
    settings.pop("conformance", None)
    match kind:
        case "local":
            from causeway.adapters.local import LocalEngine

            warm = settings.pop("warm", None)
            shared = _folders(settings.pop("shared", ()), "$.engine.shared")
            if settings:
                raise InvalidInput(
                    f"the local engine has no setting {min(settings)!r}",
                    where=f"$.engine.{min(settings)}",
                    hint="it has: shared, warm",
                )
            return LocalEngine(
                root,
                clock=clock,
                capacity=_capacity_of(profile),
                warm=_warm() if warm is None else tuple(warm),
                visible=visible,
                shared=shared,
            )
        case "slurm":
            from causeway.adapters.slurm import open_engine as open_slurm

            return open_slurm(settings, root=root, clock=clock)
        case "kubernetes":
            from causeway.adapters.kubernetes import open_engine as open_kubernetes

            return open_kubernetes(settings, root=root, clock=clock)
        case "ray":
            from causeway.adapters.ray import open_engine as open_ray

            return open_ray(settings, root=root, clock=clock)
    raise InvalidInput(
        f"there is no engine {kind!r}",
        where="$.engine.kind",
        hint=f"one of: {', '.join(ENGINES)}",
    )


def _folders(names: Sequence[str], where: str) -> tuple[Path, ...]:
    paths = tuple(Path(name) for name in names)
    for path in paths:
        if not path.is_absolute() or not path.is_dir():
            raise InvalidInput(f"{path} is not a folder by its whole path", where=where)
    return paths


def join(
    url: str, *, token: str | None, root: Path, profile: Path, visible: Sequence[Path] = ()
) -> int:
    """Run an island's agent until it is told to stop; return the exit code."""
    from causeway.adapters.content.cache import FolderCache
    from causeway.adapters.world import SystemChance, SystemClock
    from causeway.agent.peers import Sharing
    from causeway.agent.shell import run_agent
    from causeway.sdk.transfer import HttpTransfer

    clock = SystemClock()
    declared = read_profile(profile)
    root.mkdir(parents=True, exist_ok=True)
    engine = open_engine(profile, root=root, clock=clock, visible=visible)
    urls = [one.rstrip("/") for one in url.split(",")]
    room_bytes = declared.content_cache_bytes
    cache = FolderCache(root / "cache", bytes_max=room_bytes) if room_bytes else None
    asyncio.run(
        run_agent(
            root=root,
            urls=urls,
            profile=declared,
            join_token=token,
            engine=engine,
            transfer_factory=partial(HttpTransfer, cache=cache, direct=True),
            clock=clock,
            chance=SystemChance(),
            sharing=Sharing(cache, address=declared.content_address, root=root, clock=clock),
        )
    )
    return 0


def _warm() -> tuple[str, ...]:
    """Keep a warm PyTorch only where PyTorch is installed."""
    from importlib.util import find_spec

    return ("torch",) if find_spec("torch") is not None else ()


def _capacity_of(profile: Path) -> Capacity | None:
    """Read `<profile>.capacity.toml` beside the profile: what of this machine the island offers."""
    import tomllib

    import msgspec

    path = profile.with_suffix(".capacity.toml")
    if not path.exists():
        return None
    return msgspec.convert(tomllib.loads(path.read_text()), Capacity, strict=False)
