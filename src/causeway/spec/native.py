"""Causeway's own format: a tree of the documented fields to a `Submission`.

One job, an array (`array: {count: 100}`), a job over several islands (`islands: 2`) or a DAG
(`stages: [...]`, where fields written at the top are the stages' defaults). Foreign formats are
translated into this tree first, so there is one validator. Bounds: 100,000 members of an array,
64 islands, 1,000 stages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from causeway.model.errors import InvalidInput, TooLarge
from causeway.model.jobs import JobKind, JobSpec, Member, Submission
from causeway.model.values import replace
from causeway.spec.fields import Fields, bound, kind_of, name, text, unknown, whole
from causeway.spec.job import Reader, require_run
from causeway.spec.units import shown

ARRAY_MAX = 100_000
STAGES_MAX = 1_000
ISLANDS_MAX = 64

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?\Z")
_LIMIT = re.compile(r"[0-9]{1,9}\Z")
_EMPTY = JobSpec(name="job", run="")
_READERS = {local: Reader(local_paths=local) for local in (False, True)}


def submission(tree: object, *, notes: Sequence[str] = (), local_paths: bool = False) -> Submission:
    """Read a whole file's tree."""
    top = Fields(tree, "$")
    title = name(top.text("name", "job"), "$.name")
    said = list(notes)
    array, stages = top.take("array"), top.take("stages")
    if array is not None and stages is not None:
        raise InvalidInput(
            "`array` and `stages` cannot be in the same file",
            where="$.array",
            hint="submit the array on its own and let a stage depend on it",
        )
    islands = _islands(top, alone=array is None and stages is None)
    reader = _READERS[local_paths]
    spec = reader.spec(top, _EMPTY, title)
    top.done()
    if stages is not None:
        return _dag(stages, spec, reader=reader, notes=said)
    require_run(spec, "$")
    if array is not None:
        return _array(array, spec, said)
    if islands > 1:
        return _wide(islands, spec, said)
    return Submission(name=title, members=(Member(name=title, spec=spec),), notes=tuple(said))


def _array(value: object, spec: JobSpec, notes: list[str]) -> Submission:
    members = []
    indices, at_once = array_indices(value)
    for index in indices:
        title = f"{spec.name}-{index}"
        member = replace(spec, name=title, array_index=index)
        members.append(Member(name=title, spec=member))
    return Submission(name=spec.name, members=tuple(members), at_once=at_once, notes=tuple(notes))


def _islands(top: Fields, *, alone: bool) -> int:
    """Return over how many islands the file's one job goes."""
    islands = top.whole("islands", 1, low=1, high=ISLANDS_MAX)
    if islands > 1 and not alone:
        raise InvalidInput(
            "a job over several islands can be neither an array nor a DAG",
            where="$.islands",
            hint="submit it on its own",
        )
    return islands


def _wide(islands: int, spec: JobSpec, notes: list[str]) -> Submission:
    """Return one member per island, numbered as an array's are."""
    if spec.kind is not JobKind.BATCH:
        raise InvalidInput(
            f"a job over several islands is a batch job, not {spec.kind.value}",
            where="$.kind",
            hint="remove `islands`",
        )
    members = [
        replace(spec, name=f"{spec.name}-{index}", array_index=index, islands=islands)
        for index in range(islands)
    ]
    return Submission(
        name=spec.name,
        members=tuple(Member(name=member.name, spec=member) for member in members),
        notes=tuple(notes),
    )


def array_indices(value: object) -> tuple[Sequence[int], int]:
    """Return the members' numbers, and how many of them may run at once (0: no limit)."""
    where = "$.array"
    if isinstance(value, Mapping):
        f = Fields(value, where)
        count = f.whole("count", 0, low=1, high=ARRAY_MAX)
        at_once = f.whole("parallel", 0, low=1, high=ARRAY_MAX)
        f.done()
        if not count:
            raise InvalidInput("an array needs a count", where="$.array.count", hint="count: 100")
        return range(count), at_once
    if isinstance(value, int):
        return range(whole(value, where, low=1, high=ARRAY_MAX)), 0
    written, separator, most_text = text(value, where, chars_max=4_096).partition("%")
    at_once = 0
    if separator:
        if not _LIMIT.match(most_text) or not 1 <= int(most_text) <= ARRAY_MAX:
            raise InvalidInput(
                f"{shown(most_text)} is not a number after %",
                where=where,
                hint="e.g. 0-99%10: at most 10 at once",
            )
        at_once = int(most_text)
    found: dict[int, None] = {}
    for piece in written.split(","):
        match = _RANGE.match(piece.strip())
        if match is None:
            raise InvalidInput(
                f"{shown(piece)} is not a range", where=where, hint="e.g. 0-99 or 1,3,5"
            )
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step < 1:
            raise InvalidInput(f"{shown(piece)} runs backwards", where=where, hint="e.g. 0-99")
        if (last - first) // step + 1 + len(found) > ARRAY_MAX:
            raise TooLarge(f"an array has at most {ARRAY_MAX:,} members", where=where)
        found.update(dict.fromkeys(range(first, last + 1, step)))
    return list(found), at_once


def _dag(value: object, spec: JobSpec, *, reader: Reader, notes: list[str]) -> Submission:
    where = "$.stages"
    if not isinstance(value, list) or not value:
        raise InvalidInput(
            f"must be a list of stages, not {kind_of(value)}", where=where, hint="- name: ..."
        )
    bound(value, where, STAGES_MAX)
    members: dict[str, Member] = {}
    for i, item in enumerate(value):
        f = Fields(item, f"{where}[{i}]")
        if not f.has("name"):
            raise InvalidInput("a stage needs a name", where=f.at("name"))
        title = name(f.text("name"), f.at("name"))
        if title in members:
            raise InvalidInput(f"stage {title!r} is there twice", where=f.at("name"))
        needs = f.texts("needs")
        stage = reader.spec(f, spec, title)
        f.done()
        require_run(stage, f.where)
        members[title] = Member(name=title, spec=stage, needs=needs)
    for i, member in enumerate(members.values()):
        for j, need in enumerate(member.needs):
            if need not in members:
                raise unknown(need, list(members), f"{where}[{i}].needs[{j}]", what="stage")
    _refuse_cycle(members)
    return Submission(name=spec.name, members=tuple(members.values()), notes=tuple(notes))


def _refuse_cycle(members: Mapping[str, Member]) -> None:
    """Take away stages whose needs are met until none is left; what stays holds a cycle."""
    left = dict(members)
    while True:
        ready = [title for title, m in left.items() if not any(n in left for n in m.needs)]
        if not ready:
            break
        for title in ready:
            del left[title]
    if not left:
        return
    path = [next(iter(left))]
    while True:
        step = next(n for n in left[path[-1]].needs if n in left)
        if step in path:
            cycle = [*path[path.index(step) :], step]
            raise InvalidInput(
                f"the stages wait for each other in a circle: {' needs '.join(cycle)}",
                where=f"$.stages[{list(members).index(step)}].needs",
                hint="remove one of these needs",
            )
        path.append(step)
