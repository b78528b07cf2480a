"""API answers to lines of text. Pure, and tolerant: what an answer lacks is shown as `-`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from causeway.cli.figures import (
    carbon,
    energy,
    instant,
    local_id,
    money,
    number,
    seconds,
    size,
)
from causeway.cli.talk import clean, paint, table

Answer = Mapping[str, Any]
SIGNS = {
    "pending": ("·", "grey"),
    "queued": ("·", "grey"),
    "placed": ("›", "blue"),
    "starting": ("›", "blue"),
    "running": ("▶", "green"),
    "disconnected": ("!", "amber"),
    "stopping": ("■", "amber"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("-", "grey"),
}
"""Sign and colour of each state. Only failed is red."""
CANDIDATES_SHOWN = 12
ENDS_SHOWN = 5
_DURATION = re.compile(r"_s(?:_p[0-9]+)?\Z")


def state(word: object) -> str:
    """Return a state's sign and word."""
    sign, colour = SIGNS.get(str(word), ("?", "amber"))
    return paint(f"{sign} {word}", colour)


def jobs(rows: Sequence[Answer]) -> Iterator[str]:
    """A list of jobs, newest first."""
    if not rows:
        yield "No jobs."
        return
    cells = [
        [
            f"{SIGNS.get(str(j.get('state')), ('?', ''))[0]} {j.get('state', '-')}",
            local_id(j.get("id")),
            str(j.get("name", "")),
            local_id(j.get("island")) or "-",
            money(j.get("cost_micros"), j.get("currency")),
            str(j.get("headline", "")),
        ]
        for j in rows
    ]
    lines = table(["STATE", "JOB", "NAME", "ISLAND", "COST", "STATUS"], cells, right=[4])
    yield lines[0]
    for row, line in zip(rows, lines[1:], strict=True):
        yield paint(line, SIGNS.get(str(row.get("state")), ("", ""))[1])


def job(found: Answer) -> Iterator[str]:
    """One job: headline, why, cost, attempts, checkpoint, outputs."""
    yield f"{state(found.get('state'))}  {clean(str(found.get('headline', '')))}"
    yield f"job        {found.get('id', '-')}  ({clean(str(found.get('name', '')))})"
    yield from reasons(found.get("reasons") or ())
    submitted, ended = instant(found.get("submitted_ms")), instant(found.get("ended_ms"))
    yield f"submitted  {submitted or '-'}" + (f"   ended {ended}" if ended else "")
    if found.get("kind") == "group":
        yield f"cost       of all members: causeway cost {local_id(found.get('id'))}"
        if "members" in found:
            yield ""
            yield from jobs(found["members"])
        return
    yield f"cost       {money(found.get('cost_micros'), found.get('currency'))} so far"
    if found.get("energy_facility_mj"):
        quality = found.get("energy_quality", "")
        used = f"{energy(found['energy_facility_mj'])}, {carbon(found.get('carbon_mg'))}"
        yield f"energy     {used}" + (f"  ({quality})" if quality else "")
    checkpoint = found.get("checkpoint")
    if isinstance(checkpoint, Mapping):
        at = f"step {checkpoint.get('step', '-')}, {size(checkpoint.get('bytes'))}"
        yield f"checkpoint {at} from {local_id(checkpoint.get('island'))}"
    for path, artifact in (found.get("outputs") or {}).items():
        yield f"output     {clean(str(path))}  {artifact}"
    attempts = found.get("attempts") or ()
    if attempts:
        yield ""
        yield from table(
            ["ATTEMPT", "ISLAND", "STATE", "STEPS", "COST", "FAILURE", "MESSAGE"],
            [_attempt(a) for a in attempts],
            right=[0, 4],
        )
    if found.get("failures"):
        yield from retries(found.get("retries"))


def _attempt(found: Answer) -> list[str]:
    first, last = found.get("resumed_step", -1), found.get("last_step", -1)
    begun = f"from {first} " if isinstance(first, int) and first >= 0 else ""
    price = found.get("price") or {}
    return [
        str(found.get("fence", "-")),
        local_id(found.get("island")),
        str(found.get("state", "-")),
        f"{begun}to {last}" if isinstance(last, int) and last >= 0 else "-",
        money(found.get("billed_micros"), price.get("currency")),
        _failure(found) or "-",
        _told(found),
    ]


def _told(found: Answer) -> str:
    """Why an attempt ended: its program's last words before the engine's."""
    cause = found.get("cause")
    return str(
        (cause.get("message") if isinstance(cause, Mapping) else "") or found.get("message") or ""
    )


def _failure(found: Answer) -> str:
    """The class of a bad end, and how much of its retry budget that end left."""
    word, budget = str(found.get("failure") or ""), found.get("budget")
    return f"{word} ({_left(budget)})" if word and isinstance(budget, Mapping) else word


def _left(budget: Answer) -> str:
    allowed = budget.get("allowed", 0)
    if not isinstance(allowed, int) or allowed < 0:
        return "started again whatever ends it"
    if not allowed:
        return "no retry allowed"
    return f"{min(int(budget.get('ends', 0)), allowed)} of {allowed} retries used"


def retries(found: object) -> Iterator[str]:
    """What is left of each class's retries, and how near the job is to being given up."""
    if not isinstance(found, Mapping):
        return
    yield ""
    for budget in found.get("budgets") or ():
        if budget.get("ends"):
            yield f"retries    {budget.get('failure', '-')}: {_left(budget)}"
    row = f"{found.get('stalled', '-')} of {found.get('stalled_max', '-')}"
    yield f"           ends in a row without progress: {row}, then it is given up"


def reasons(found: Sequence[Answer]) -> Iterator[str]:
    """Reasons, most severe first, each with what to try."""
    for reason in found:
        yield f"  {reason.get('severity', '-'):<5} {clean(str(reason.get('message', '')))}"
        if reason.get("try_this"):
            yield f"        try  {clean(str(reason['try_this']))}"


def candidates(found: Sequence[Answer]) -> Iterator[str]:
    """The placement table: what each offer would cost, and why it won or lost."""
    if not found:
        return
    rows = []
    for one in found[:CANDIDATES_SHOWN]:
        why = [str(r.get("message", "")) for r in one.get("reasons") or ()]
        feasible = bool(one.get("feasible"))
        rows.append(
            [
                "✔" if one.get("chosen") else ("·" if feasible else "✗"),
                str(one.get("name") or local_id(one.get("island"))),
                f"{money(one.get('price_per_h_micros'))}/h",
                seconds(one.get("wait_s")) if feasible else "-",
                number(one.get("energy_kwh_per_h"), 3),
                number(one.get("carbon_g_per_h"), 0),
                number(one.get("score_usd"), 4) if feasible else "-",
                why[0] if why else "",
            ]
        )
    head = ["", "ISLAND", "PRICE", "WAIT", "KWH/H", "GCO2E/H", "SCORE USD", "WHY"]
    yield from table(head, rows, right=[2, 3, 4, 5, 6])
    if len(found) > CANDIDATES_SHOWN:
        yield f"... and {len(found) - CANDIDATES_SHOWN} more (--json shows all)"


def explanation(found: Answer) -> Iterator[str]:
    """Why a job is where it is, and what would change it."""
    yield clean(str(found.get("headline", "")))
    yield from reasons(found.get("reasons") or ())
    if found.get("candidates"):
        when = instant(found.get("decided_ms"))
        yield f"As decided at {when}:" if when else ""
        yield from candidates(found["candidates"])
    if found.get("blockers"):
        yield ""
        yield "In the way:"
        yield from reasons(found["blockers"])
    if found.get("changes"):
        yield ""
        yield "What would help:"
        for change in found["changes"]:
            now, later = change.get("offers_now", 0), change.get("offers_later", 0)
            where = f" ({clean(str(change['islands']))})" if change.get("islands") else ""
            yield f"  {clean(str(change.get('sentence', '')))}: {now} now, {later} later{where}"
    if found.get("ends"):
        yield ""
        yield "How it ended before:"
        for end in found["ends"][-ENDS_SHOWN:]:
            told = clean(f"{_failure(end)}: {_told(end) or end.get('state', '-')}")
            yield f"  attempt {end.get('fence', '-')} on {local_id(end.get('island'))}: {told}"
            if (end.get("cause") or {}).get("try_this"):
                yield f"        try  {clean(str(end['cause']['try_this']))}"
        yield from retries(found.get("retries"))


OUTLOOKS = {
    "fits_now": "can start now",
    "would_wait": "would wait",
    "after_others": "start once others have succeeded",
    "can_never_fit": "can never fit",
}


def plan(found: Answer) -> Iterator[str]:
    """Where a submission would run, member by member."""
    members = found.get("members") or [found]
    for member in members[:10]:
        if len(members) > 1:
            yield f"{clean(str(member.get('name', '')))}:"
        yield from explanation(member)
    in_all = int(found.get("members_in_all") or len(members))
    if in_all > 10:
        yield f"... and {in_all - 10:,} more members; of all {in_all:,}:"
        for outlook, count in (found.get("outlooks") or {}).items():
            yield f"  {count:,} {OUTLOOKS.get(outlook, outlook)}"


def forecast(found: Answer) -> Iterator[str]:
    """When a waiting job would start and end, and what that rests on."""
    yield clean(str(found.get("headline", "")))
    for what in ("start", "end"):
        half, most = found.get(f"{what}_ms_p50"), found.get(f"{what}_ms_p90")
        if half:
            yield f"{what:<6} {instant(half)}, nine times of ten by {instant(most) or '?'}"
    for assumed in found.get("assumptions") or ():
        yield f"  assumed: {clean(str(assumed))}"
    if found.get("samples"):
        yield f"  from {found['samples']} runs of the simulation"


def plain(found: Any) -> Iterator[str]:
    """Any mapping, name by name: for answers whose shape may grow."""
    if not isinstance(found, Mapping):
        yield clean(str(found))
        return
    if not found:
        yield "Nothing is known yet."
    width = max((len(str(k)) for k in found), default=0)
    for name, value in found.items():
        if name.endswith("_ms") and isinstance(value, int) and value > 10**11:
            value = instant(value)
        elif _DURATION.search(name) and isinstance(value, int | float):
            value = seconds(value)
        yield f"{name:<{width}}  {clean(str(value))}"


def descriptor(found: Answer) -> Iterator[str]:
    """What an identifier stands for, a line for each attribute."""
    yield clean(str(found.get("id", "")))
    yield f"digest {found.get('digest', '-')}"
    yield ""
    yield from plain(dict(_leaves(found.get("descriptor") or {}, "")))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        yield path, ", ".join(str(item) for item in value) or "-"
    else:
        yield path, "-" if value in ("", None) or value == {} else value


def latency(rows: Sequence[Answer]) -> Iterator[str]:
    """Round trips and bandwidths between islands; a stale figure is said to be so."""
    if not rows:
        yield "No two islands have told figures yet."
        return
    cells = []
    for one in rows:
        age_s = (one.get("age_ms") or 0) / 1000
        rtt = one.get("rtt_ms") or 0
        bandwidth = one.get("bandwidth_mbit_s") or 0
        cells.append(
            [
                local_id(one.get("a")),
                local_id(one.get("b")),
                f"{number(rtt, 1)} ms" if rtt else "not measured",
                f"{number(bandwidth, 0)} Mbit/s" if bandwidth else "not measured",
                str(one.get("path", "-")),
                f"{number(age_s, 0)} s" + ("" if one.get("fresh") else ", stale"),
            ]
        )
    yield from table(["ISLAND", "ISLAND", "ROUND TRIP", "BANDWIDTH", "PATH", "AGE"], cells)


def islands(rows: Sequence[Answer]) -> Iterator[str]:
    """The islands, with what they are, where, and at which price."""
    if not rows:
        yield "No islands have joined. Let one in: causeway tokens create --join"
        return
    cells = []
    for one in rows:
        p = one.get("profile") or {}
        held = (one.get("inventory") or {}).get("capacity") or {}
        flags = [w for w in ("cordoned", "draining", "expelled") if one.get(w)]
        cells.append(
            [
                " ".join([str(one.get("state", "-")), *flags]),
                str(p.get("name") or local_id(one.get("id"))),
                str(p.get("jurisdiction", "-")),
                str(p.get("purchase", "-")),
                f"{p.get('price_per_device_h', '-')} {p.get('currency', '')}/device·h",
                number((held.get("cpu_milli") or 0) / 1000, 1),
                str(held.get("accelerators", "-")),
                instant(one.get("heard_ms")) or "-",
            ]
        )
    head = ["STATE", "ISLAND", "COUNTRY", "PURCHASE", "PRICE", "CPUS", "ACCEL", "HEARD"]
    yield from table(head, cells, right=[5, 6])


def offers(rows: Sequence[Answer]) -> Iterator[str]:
    """Offers, best first by the sort that was asked for."""
    if not rows:
        yield "No offer passes. See: causeway offers"
        return
    cells = []
    for one in rows:
        price, free = one.get("price") or {}, one.get("free") or {}
        devices = one.get("devices") or ()
        model = str(devices[0].get("model", "")) if devices else "cpu"
        cells.append(
            [
                str(one.get("name") or local_id(one.get("island"))),
                model,
                str(
                    free.get("accelerators", 0) if devices else (free.get("cpu_milli") or 0) // 1000
                ),
                f"{price.get('amount_per_device_h', '-')} {price.get('currency', '')}/device·h",
                str(one.get("jurisdiction", "-")),
                number(one.get("carbon_g_per_kwh"), 0),
                str(one.get("purchase", "-")),
                seconds((one.get("age_ms") or 0) / 1000)
                + ("" if one.get("fresh", True) else " stale"),
            ]
        )
    head = ["ISLAND", "DEVICE", "FREE", "PRICE", "COUNTRY", "GCO2E/KWH", "PURCHASE", "AGE"]
    yield from table(head, cells, right=[2, 5])


def bill(found: Answer) -> Iterator[str]:
    """A bill: lines, totals, who gets what, and whether the journal balances."""
    cells = [
        [
            local_id(line.get("job")),
            str(line.get("fence", "-")),
            local_id(line.get("island")),
            number((line.get("device_ms") or 0) / 1000, 1, "device·s"),
            energy(line.get("energy_facility_mj")),
            carbon(line.get("carbon_mg")),
            money(line.get("amount_micros"), line.get("currency")),
            money(line.get("unposted_micros"), line.get("currency")),
        ]
        for line in found.get("lines") or ()
    ]
    if not cells:
        yield "Nothing has been used yet."
        return
    head = ["JOB", "ATTEMPT", "ISLAND", "USED", "ENERGY", "CARBON", "POSTED", "NOT YET"]
    yield from table(head, cells, right=[1, 3, 4, 5, 6, 7])
    yield ""
    for currency, micros in (found.get("totals_micros") or {}).items():
        yield f"total      {money(micros, currency)}"
    used = f"{energy(found.get('energy_facility_mj'))}, {carbon(found.get('carbon_mg'))}"
    # The worst of the qualities is that of the sum.
    quality = max((str(e.get("energy_quality") or "") for e in found["lines"]), default="")
    yield f"energy     {used}" + (f"  ({quality})" if quality else "")
    for share in found.get("shares") or ():
        who = clean(str(share.get("account", "-")))
        yield f"share      {money(share.get('micros'), share.get('currency'))}  {who}"
    if "balanced" in found:
        yield "journal    " + ("balances" if found["balanced"] else "DOES NOT BALANCE")
