"""`python docs/generate.py`: the reference pages, written from the code that they describe.

Each page is a function of the code: nothing in it is typed twice. What the code cannot say (a
sentence for each field of a job file, for each environment variable) stands in `sentences.toml`,
and a name that is missing there, or one that the code no longer knows, is an error. `--check`
writes nothing and exits 1 when a page is not what the code says; tests/docs does the same.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import sys
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "causeway"
MADE = "<!-- Written by docs/generate.py from the code. Do not edit by hand: run `make docs`. -->"
SENTENCES: Mapping[str, Mapping[str, str]] = tomllib.loads((DOCS / "sentences.toml").read_text())


class Undocumented(Exception):
    """Something in the code has no sentence, or a sentence has nothing in the code."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(c) for c in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def page(title: str, *parts: str) -> str:
    """Return a whole page."""
    return "\n\n".join([f"# {title}", MADE, *(part.strip("\n") for part in parts)]) + "\n"


def explained(group: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, sentence) for each name, or say what is missing or left over."""
    known, wanted = SENTENCES[group], list(names)
    missing = [name for name in wanted if name not in known]
    stale = [name for name in known if name not in wanted]
    if missing or stale:
        raise Undocumented(f"docs/sentences.toml [{group}]: missing {missing}, stale {stale}")
    return [(name, known[name]) for name in wanted]


def attribute_docs(module: ModuleType, name: str) -> dict[str, str]:
    """Return the docstring below each attribute of a class, read from its source."""
    tree = ast.parse(inspect.getsource(module))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    found: dict[str, str] = {}
    for before, after in itertools.pairwise(body):
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
            continue
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            found[before.target.id] = str(after.value.value)
        elif isinstance(before, ast.Assign) and isinstance(before.targets[0], ast.Name):
            found[before.targets[0].id] = str(after.value.value)
    return found


# --- the command line --------------------------------------------------------------------------


def _parts(text: str) -> tuple[str, dict[str, str]]:
    """Split a NumPy-style docstring into its prose and its parameters."""
    prose, _, rest = inspect.cleandoc(text).partition("Parameters\n----------\n")
    found: dict[str, list[str]] = {}
    name = ""
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            name = line.strip()
            found[name] = []
        elif name:
            found[name].append(line.strip())
    return prose.strip(), {k: " ".join(v).strip() for k, v in found.items()}


def _option(function: Callable[..., object], words: str) -> Iterable[tuple[str, str, str]]:
    _, told = _parts(function.__doc__ or "")
    for name, kind in typing.get_type_hints(function, include_extras=True).items():
        # What many commands share is told once, where the option is made.
        for shared in getattr(kind, "__metadata__", ()):
            if getattr(shared, "help", None):
                told.setdefault(name, shared.help)
    for parameter in inspect.signature(function).parameters.values():
        if dataclasses.is_dataclass(parameter.default):
            # A group of options that the command line spells out one by one.
            yield from _option(type(parameter.default), words)
            continue
        if parameter.name not in told:
            raise Undocumented(f"causeway {words}: {parameter.name} has no sentence")
        dashed = "--" + parameter.name.strip("_").replace("_", "-")
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            shown = parameter.name.upper()
        else:
            shown = f"`{dashed}`" + (", `-y`" if parameter.name == "yes" else "")
        default = parameter.default
        bare = default in (inspect.Parameter.empty, None, "", False)
        yield shown, "" if bare else f"`{getattr(default, 'value', default)}`", told[parameter.name]


def cli() -> str:
    """Return the page of the command line."""
    from causeway.cli.app import COMMANDS
    from causeway.cli.exits import MEANINGS

    parts = [
        "stdout is data, stderr is talk; `--json` is on every command that reads. `NO_COLOR` is "
        "honoured. Jobs are named by identifier, by the part after the last colon, or by name "
        "(the newest). Which control plane is called: see [settings](settings.md).",
        table(
            ("command", "what it does"),
            [(f"[`causeway {w}`](#causeway-{w.replace(' ', '-')})", t) for w, _, _, t in COMMANDS],
        ),
    ]
    for words, target, _, _ in COMMANDS:
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(f"causeway.cli.{module}"), name)
        parts.append(f"## causeway {words}")
        parts.append(_parts(function.__doc__ or "")[0])
        options = list(_option(function, words))
        if options:
            parts.append(table(("argument", "default", "meaning"), options))
    parts.append("## Exit codes")
    parts.append(table(("code", "meaning"), [(str(c), m) for c, m in MEANINGS.items()]))
    return page("Command line", *parts)


# --- the HTTP API ------------------------------------------------------------------------------


def _endpoints() -> tuple[Any, ...]:
    from causeway.api import app, content

    return (*app.ENDPOINTS, *getattr(content, "ENDPOINTS", ()))


def _type(kind: Any) -> str:
    if kind is None:
        return ""
    if kind in (str, bytes):
        return "text" if kind is str else "bytes"
    if typing.get_origin(kind) is not None:
        return f"`{str(kind).replace('typing.', '')}`".replace("causeway.", "")
    return f"`{kind.__name__}`"


def api() -> str:
    """Return the page of the HTTP API."""
    words = {"token": "token", "session": "agent session", "none": "nobody"}
    rows = [
        (
            f"`{e.method}`",
            f"`{e.path}`",
            e.summary,
            ", ".join(f"`{name}`" for name, _, _ in e.query),
            _type(e.request),
            _type(e.reply),
            words.get(e.auth, e.auth),
        )
        for e in _endpoints()
    ]
    return page(
        "HTTP API",
        "`GET /v1/openapi.json` of a running control plane is the whole contract (OpenAPI 3.1, "
        "with every field); this is its table of contents. Send `Authorization: Bearer <token>`. "
        'Errors are `{"error": {code, message, where?, hint?}}`: see [errors](errors.md). '
        "`POST /v1/jobs` takes an `Idempotency-Key` header: the same key and body give the same "
        "job, however often they are sent. `GET /healthz` answers 200 from the leader and 503 "
        "from a follower, to anyone. How an island talks is in "
        "[the agent protocol](agent-protocol.md).",
        table(("method", "path", "what", "query", "body", "answer", "who"), rows),
    )


# --- reasons, errors, metrics --------------------------------------------------------------------


def filters() -> str:
    """Return the page of the filter language."""
    from causeway.discover import grammar, schema

    shape = re.search(r"\n\n(    filter .*?)\n\nNegation", grammar.__doc__ or "", re.DOTALL)
    if shape is None:
        raise Undocumented("discover/grammar.py: no grammar in the docstring")
    rows = [(f"`{t.name}`", t.type.value, t.unit, t.text) for t in schema.SCHEMA.values()]
    return page(
        "The filter language",
        "For `causeway offers --where`, the `where` of a job file and `GET /v1/offers`. A figure "
        "that is not known passes neither a test nor its negation. `causeway offers --sort NAME` "
        "sorts by any number here (`-NAME`: largest first), or by an objective: cheapest, "
        "greenest, fastest, nearest, steadiest.",
        f"```\n{inspect.cleandoc(shape[1])}\n```",
        "`accelerator.memory_gib >= 80 and site.jurisdiction in EU and not simulated`",
        table(("name", "type", "unit", "meaning"), rows),
    )


def reasons() -> str:
    """Return the page of reasons."""
    from causeway.model import reasons as module

    docs = attribute_docs(module, "Token")
    rows = [(f"`{t.value}`", docs[t.name]) for t in module.Token]
    levels = attribute_docs(module, "Severity")
    return page(
        "Reasons",
        "Every decision says why. A reason is data: `token`, `severity`, `message` (a sentence for "
        "a person), `evidence` (the figures behind it), `waiting_helps`, `try_this`. The CLI, the "
        "API and the pages print the same value.",
        table(("token", "meaning"), rows),
        table(("severity", "meaning"), [(f"`{s.value}`", levels[s.name]) for s in module.Severity]),
    )


def errors() -> str:
    """Return the page of errors, exit codes and statuses."""
    from causeway.cli.exits import MEANINGS
    from causeway.model import errors as module

    tree = re.search(r"\n\n(    CausewayError\n.*?)\n\n", module.__doc__ or "", re.DOTALL)
    if tree is None or set(module.EXITS) != set(module.STATUSES):
        raise Undocumented("model/errors.py: no tree, or the tables differ")
    kinds = [module.CausewayError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ours = [k.__name__ for k in kinds if k.__module__ == module.__name__]
    undrawn = [name for name in ours if name not in tree[1]]
    if undrawn:
        raise Undocumented(f"model/errors.py: the tree lacks {undrawn}")
    rows = [(f"`{c}`", str(module.STATUSES[c]), str(e)) for c, e in module.EXITS.items()]
    return page(
        "Errors",
        "An error says what happened (`message`), where in the input (`where`, e.g. "
        "`$.resources.cpus`), and what to try (`hint`). A 503 carries `retry-after`.",
        f"```\n{inspect.cleandoc(tree[1])}\n```",
        table(("code", "HTTP status", "exit code"), rows),
        table(("exit code", "meaning"), [(str(c), m) for c, m in MEANINGS.items()]),
    )


def metrics() -> str:
    """Return the page of Prometheus metrics."""
    from causeway.api.metrics import families
    from causeway.control.state import State

    nobody: Any = SimpleNamespace(
        clock=SimpleNamespace(now_ms=lambda: 0), plane=SimpleNamespace(commits=0, rounds=0)
    )
    rows = []
    for family in families(nobody, State()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    return page(
        "Metrics",
        "`GET /metrics`, Prometheus text format, with any valid token (a viewer's suffices): "
        "`authorization: {credentials: ...}` in the scrape configuration. At most 1,000 islands "
        "and projects are listed one by one.",
        table(("name", "type", "labels", "meaning"), rows),
    )


# --- settings -----------------------------------------------------------------------------------


def _fields(module: ModuleType, kind: type) -> Iterable[tuple[str, str, str]]:
    docs = attribute_docs(module, kind.__name__)
    for field in dataclasses.fields(kind):
        default: object = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = ""
        shown = "" if default in (dataclasses.MISSING, "", (), None) else f"`{default}`"
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            shown = "needed"
        yield f"`{field.name}`", shown, docs.get(field.name, "")


def environment_names() -> list[str]:
    """Return every CAUSEWAY_ variable that the code names."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        found.update(re.findall(r"CAUSEWAY_[A-Z][A-Z_]*[A-Z]", path.read_text()))
    # The client makes these names from its fields.
    return sorted(found | {"CAUSEWAY_URL", "CAUSEWAY_TOKEN", "CAUSEWAY_CA"})


def settings() -> str:
    """Return the page of settings."""
    from causeway.control import settings as control
    from causeway.model import islands, resources

    rows = [(f"`{n}`", s) for n, s in explained("environment", environment_names())]
    return page(
        "Settings",
        "## Environment\n\nWhat people set, and what an island sets for each attempt of a job. "
        "The client's own three can also stand in `~/.config/causeway/config.toml` (`causeway "
        "login` writes it).",
        table(("variable", "meaning"), rows),
        "A gang also gets torchrun's variables (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`, "
        "`LOCAL_WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`) and the names that SkyPilot, dstack and "
        "Slurm jobs read (`SKYPILOT_NODE_RANK`, `DSTACK_NODE_RANK`, `SLURM_PROCID`, ...).",
        "## An island's profile\n\nThe TOML file of `causeway join --profile`. What the owner "
        "declares; the agent measures the rest.",
        table(("field", "default", "meaning"), _fields(islands, islands.Profile)),
        "`[policy]` is what the owner takes:",
        table(("field", "default", "meaning"), _fields(islands, islands.OwnerPolicy)),
        "`<profile>.capacity.toml` beside it, when there, caps what is offered of this machine:",
        table(("field", "default", "meaning"), _fields(resources, resources.Capacity)),
        "## The control plane's own numbers\n\n`causeway.control.settings`, with their reasons. "
        "Those that have a variable above can be set from outside; the others are constants of "
        "this version.",
        table(("name", "default", "meaning"), _fields(control, control.Settings)),
    )


# --- the job file -------------------------------------------------------------------------------

_EVERY_PART: dict[str, object] = {
    "run": "true",
    "checkpoint": {},
    "retry": {},
    "objective": {},
    "model": {"name": "m"},
    "data": [{"class": "public"}],
    "resources": {"accelerators": {"model": "H100"}},
    "service": {},
    "array": {"count": 1},
}
_SOME_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE2tnYCYq1Hc0y7rCWkYk3WQ0m6m2v4k1x0B8y5q9d2e"
"""A rental has nothing to run, so it is read on its own."""


def job_fields() -> list[str]:
    """Return every field that the reader of job files asks for, as `part.field`."""
    from causeway.spec import native
    from causeway.spec.fields import Fields

    asked: dict[str, None] = {}
    plain = Fields.done

    def done(self: Fields) -> None:
        where = re.sub(r"\[\d+\]", "", self.where).removeprefix("$").removeprefix(".")
        asked.update((f"{where}.{name}".removeprefix("."), None) for name in self.known)
        plain(self)

    # Reading a file that has every part, with an ear at what refuses fields that nobody knows.
    Fields.done = done  # type: ignore[method-assign]
    try:
        native.submission(_EVERY_PART)
        native.submission({"stages": [{"name": "a", "run": "true", "needs": []}]})
        native.submission({"rent": {"key": _SOME_KEY}})
    finally:
        Fields.done = plain  # type: ignore[method-assign]
    stage_only = {"stages.name", "stages.needs"}
    return sorted(n for n in asked if not n.startswith("stages.") or n in stage_only)


def job_file() -> str:
    """Return the page of the job file."""
    rows = explained("job_file", job_fields())
    top = [(f"`{n}`", s) for n, s in rows if "." not in n]
    inner = [(f"`{n}`", s) for n, s in rows if "." in n]
    example = (DOCS.parent / "examples" / "train_gpt" / "job.yaml").read_text()
    return page(
        "The job file",
        "One YAML (or JSON) document. An unknown field, a missing unit or a value out of bounds "
        "is an error that names its place; nothing is ignored silently. `causeway launch` also "
        "takes SkyPilot and dstack YAML and `#SBATCH` scripts: they are translated into these "
        "fields, and what cannot be honoured is printed as a note.",
        f"```yaml\n{example.strip()}\n```",
        "Sizes need a unit (`2GiB`, `500MB`), durations too (`90s`, `1h30m`), money is in USD "
        "(`5.00`, `5 USD`).",
        table(("field", "meaning"), top),
        "## Inner fields",
        table(("field", "meaning"), inner),
        "How to write checkpoints that survive an island: [checkpoints](checkpoints.md).",
    )


def conformance() -> str:
    """What every engine must do, and which do."""
    from causeway.conformance import case, subject
    from causeway.conformance import page as tables

    reports = tables.read(DOCS / "conformance")
    settings = attribute_docs(importlib.import_module(subject.__name__), "Settings").items()
    claims = attribute_docs(importlib.import_module(case.__name__), "Claim")
    lacks = [(f"`{claim.value}`", claims[claim.name]) for claim in case.Claim]
    return page(
        "Conformance of engines",
        *(SENTENCES["conformance"][name] for name in ("what", "how", "own")),
        "## What a profile may say",
        SENTENCES["conformance"]["profile"],
        table(("setting", "meaning"), [(f"`{name}`", text) for name, text in settings]),
        SENTENCES["conformance"]["lacks"],
        table(("`lacks`", "what is not claimed"), lacks),
        *tables.parts(reports),
    )


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "api.md": api,
    "filters.md": filters,
    "reasons.md": reasons,
    "errors.md": errors,
    "metrics.md": metrics,
    "settings.md": settings,
    "job-file.md": job_file,
    "conformance.md": conformance,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or check them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="only say what is stale")
    chosen = options.parse_args(arguments)
    stale = []
    for name, make in PAGES.items():
        path, fresh = DOCS / name, make()
        if path.exists() and path.read_text() == fresh:
            continue
        stale.append(name)
        if not chosen.check:
            path.write_text(fresh)
    sys.stderr.write(f"{'stale' if chosen.check else 'written'}: {', '.join(stale) or 'none'}\n")
    return 1 if stale and chosen.check else 0


if __name__ == "__main__":
    sys.exit(main())
