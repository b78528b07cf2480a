"""`rent`: a job whose room is handed over ready for a person, metered from then on, and wiped.

    rent: {product: slurm, term: 8h, key: "ssh-ed25519 AAAA... me"}

What it runs is not the file's to say: a program of ours makes the product ready. What cannot be
kept of a room that is wiped (outputs, checkpoints), and what would let something of it be left
(weaker isolation, an island that goes on while it is cut off), is refused here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.model.jobs import JobKind, JobSpec, OnDisconnect, Product, Rental
from causeway.spec.fields import ENV_NAME, Fields
from causeway.spec.units import duration_s, shown

TERM_S = 8 * 3600.0
TERM_S_MAX = 366 * 86_400.0
KEY_CHARS_MAX = 2_048
RAY_BYTES_MIN = 2 * 1024**3
"""Of a node: its Ray's own processes take about half of it."""
ISOLATION = "sandbox"
RUN = "exec python -P -m causeway.sdk.rent.program"
_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]{16,}(?: [^\n\r\0]*)?\Z")
_Refusal = tuple[str, Callable[[JobSpec], bool], str]
_REFUSED: tuple[_Refusal, ...] = (
    ("kind", lambda s: s.kind is not JobKind.BATCH, "a rental is of no other kind"),
    ("run", lambda s: s.run not in ("", RUN), "what a rental runs is the product"),
    ("image", lambda s: bool(s.image), "a rental is in the island's own system"),
    ("warm", lambda s: bool(s.warm), "a rental does not fork from a warm environment"),
    ("outputs", lambda s: bool(s.outputs), "a rental is wiped: take what you made with you"),
    ("checkpoint", lambda s: s.checkpoint is not None, "a rental is wiped and keeps nothing"),
    ("model", lambda s: bool(s.model_name), "a rental is wiped: it leaves no model"),
    ("time_limit", lambda s: bool(s.time_limit_s), "the term of a rental is `rent.term`"),
    (
        "on_disconnect",
        lambda s: s.on_disconnect is not OnDisconnect.MOVE,
        "a rental that its centre cannot reach cannot be returned",
    ),
    (
        "isolation",
        lambda s: s.isolation not in ("", ISOLATION),
        "only what a rental did in the sandbox can be wiped",
    ),
)


def rented(f: Fields, found: dict[str, Any], defaults: JobSpec) -> None:
    """Read `rent` where it is written, and set what follows from it."""
    if f.has("rent"):
        found["rental"] = _rental(Fields(f.take("rent"), f.at("rent")))
        found["run"] = found.get("run") or defaults.run or RUN
        found["isolation"] = found.get("isolation") or defaults.isolation or ISOLATION
        if (found.get("on_disconnect") or defaults.on_disconnect) is None:
            found["on_disconnect"] = OnDisconnect.MOVE
        # Who wants capacity that its owner may take back has to say so.
        found.setdefault("spot", False)
        if not found.get("expected_run_s"):
            found["expected_run_s"] = found["rental"].term_s


def check(spec: JobSpec, where: str) -> None:
    """Refuse what no rental can have."""
    if spec.rental is None:
        return
    for field, wrong, why in _REFUSED:
        if wrong(spec):
            raise InvalidInput(why, where=f"{where}.{field}", hint=f"leave `{field}` out")
    if spec.rental.product is Product.SHELL and spec.num_nodes > 1:
        raise InvalidInput(
            "a shell is on one node",
            where=f"{where}.num_nodes",
            hint="rent slurm or ray for several",
        )
    if spec.rental.product is Product.RAY and spec.resources.memory_bytes < RAY_BYTES_MIN:
        raise InvalidInput(
            "a node of a Ray needs 2GiB of memory, of which Ray itself takes about half",
            where=f"{where}.resources.memory",
            hint="memory: 4GiB",
        )
    if spec.rental.host_key and spec.rental.host_key not in spec.secrets:
        raise InvalidInput(
            f"{spec.rental.host_key} is no secret of this job",
            where=f"{where}.rent.host_key",
            hint="name it under `secrets` too",
        )


def written(rental: Rental) -> Mapping[str, object]:
    """Return a rental as a job file says it."""
    out: dict[str, object] = {"product": rental.product.value, "key": rental.key}
    out["term"] = f"{round(rental.term_s * 1000)}ms"
    if rental.port:
        out["port"] = rental.port
    if rental.host_key:
        out["host_key"] = rental.host_key
    return out


def term_s(value: object, where: str) -> float:
    """Return a term, or refuse one that is none or longer than a year."""
    found = duration_s(value, where)
    if not 0 < found <= TERM_S_MAX:
        raise InvalidInput(
            f"{shown(value)} is not a term", where=where, hint="e.g. 8h; at most 366d"
        )
    return found


def is_key(line: str) -> bool:
    """Say whether a line is one public key as OpenSSH writes it, without options before it."""
    if not _KEY.match(line):
        return False
    kind, text, *_ = line.split(" ", 2)
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    # The key says its own kind first, as a length of four bytes and the name.
    return blob[:4] == len(kind).to_bytes(4, "big") and blob[4 : 4 + len(kind)] == kind.encode()


def _rental(r: Fields) -> Rental:
    key = r.text("key", chars_max=KEY_CHARS_MAX).strip()
    if not is_key(key):
        raise InvalidInput(
            "a rental needs the public SSH key that may come in",
            where=r.at("key"),
            hint="the line of ~/.ssh/id_ed25519.pub",
        )
    term = r.take("term")
    host_key = r.text("host_key")
    if host_key and not ENV_NAME.match(host_key):
        raise InvalidInput(f"{shown(host_key)} is not a secret's name", where=r.at("host_key"))
    found = Rental(
        product=r.choice("product", Product.SHELL),
        term_s=TERM_S if term is None else term_s(term, r.at("term")),
        key=key,
        port=r.whole("port", 0, low=0, high=65_000),
        host_key=host_key,
    )
    r.done()
    return found
