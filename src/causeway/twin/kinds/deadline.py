"""Deadlines of elastic training: who is promised one, who keeps it, on a trace of real jobs.

The clock is that of ElasticFlow's simulator, so that its figures can be compared: nothing is
decided twice within one slot, so an arrival or an end waits for the slot's end, and the GPUs of a
job that ended within a slot idle until then. Between decisions every job does iterations at the
measured rate of its GPU count. What a decision costs is said by `pause`:

* `source`: as in the simulator whose figures are published. ElasticFlow and Gandiva stop *every*
  running job at every decision (7 s on fleets of 256 GPUs and more, 2 s on smaller ones, plus
  2 (log2 n + 1) s for a set of GPUs without a communicator yet; every 60th decision restarts them
  anew); Tiresias pays when a job starts; EDF, Themis and Chronus never pay. The pause of the slot
  in which a job ends is not held against its deadline. Ours pays like ElasticFlow.
* `resize`: one rule for all. A job stops when its GPU count changes and when it starts, for the
  same 7 or 2 s plus 2 (log2 n + 1) s, and nothing else stops.

Counts are powers of two and every decision may lay jobs out anew, largest first, so that a buddy
allocation always exists; what moves for that is charged in `source` only. Failures, data loading
and the network between nodes are in the measured curves or nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from causeway.model.errors import IllegalMove, InvalidInput
from causeway.schedule.deadlines import POLICIES, Curve, Decide, Decision, Fleet
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.deadline_trace import Entry, read_curves, read_trace
from causeway.twin.outcome import Accounting, Outcome


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a scenario of this kind may say."""

    trace: str
    """CSV or Parquet of jobs, relative to the folder of traces."""
    curves: str
    """JSON of measured throughputs by model, global batch and GPU count."""
    gpus: int
    node_gpus: int = 8
    slot_s: float = 60.0
    pause: Literal["source", "resize"] = "source"
    jobs_max: int = 0
    """Only so many jobs, the first ones; 0 for all."""

    def __post_init__(self) -> None:
        if not 1 <= self.gpus <= 1_000_000:
            raise ValueError("`gpus` has to be from 1 to 1,000,000")
        if not 1.0 <= self.slot_s <= 86_400.0:
            raise ValueError("`slot_s` has to be from 1 to 86,400 s")
        if self.node_gpus < 1 or self.gpus % self.node_gpus:
            raise ValueError("`gpus` has to be whole nodes of `node_gpus` GPUs")


@dataclass(slots=True, kw_only=True)
class Live:
    """One job of the trace while it is in the system; what a policy sees of it is read-only."""

    key: int
    submitted_s: float
    deadline_s: float
    left: float
    curve: Curve
    asked: int
    asked_rate: float
    held: int = 0
    rate: float = 0.0
    pause_s: float = 0.0
    run_s: float = 0.0
    promised: bool = False
    promised_s: float = math.nan
    first_s: float = math.nan
    gpu_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What became of every job, by its place in the trace."""

    ended_s: np.ndarray
    first_s: np.ndarray
    promised_s: np.ndarray
    declined_s: np.ndarray
    gpu_s: np.ndarray
    busy_s: float = 0.0
    decisions: int = 0
    resizes: int = 0
    series: list[tuple[float, int, int]] = field(default_factory=list)


WHO_PAYS: Mapping[str, Literal["all", "start", "none"]] = {
    "edf": "none",
    "themis": "none",
    "chronus": "none",
    "tiresias": "start",
    "gandiva": "all",
    "elasticflow": "all",
    "causeway": "all",
}
RESTART_EVERY = 60
LARGE_FLEET_GPUS = 256
IN_VAIN_MAX = 10_000
"""Decisions in a row that give nobody anything, after which a run is given up."""


class Pauses:
    """What a decision costs whom; see the module's essay for the two rules."""

    def __init__(self, rule: str, fleet: Fleet, policy: str) -> None:
        self.large = fleet.gpus >= LARGE_FLEET_GPUS
        self.who = WHO_PAYS[policy] if rule == "source" else "resize"
        self.forgives = rule == "source"
        self.seen: set[tuple[int, int]] = set()
        self.decisions = 0

    def charge(self, jobs: list[Live], before: Mapping[int, int]) -> None:
        """Set the pause of each job that holds GPUs, given what each held before."""
        restart = self.decisions > 0 and self.decisions % RESTART_EVERY == 0
        self.decisions += 1
        if self.who == "all":
            self._all(jobs, restart)
            return
        for job in jobs:
            was = before.get(job.key, 0)
            if self.who == "none" or job.held == 0:
                job.pause_s = 0.0
            elif self.who == "start":
                job.pause_s = self._cost(job.held, restart) if was == 0 or restart else 0.0
            else:
                job.pause_s = self._cost(job.held, False) if was != job.held else job.pause_s

    def _cost(self, gpus: int, restart: bool) -> float:
        cost = 7.0 if self.large else 2.0
        if restart:
            cost += 47.0 if self.large else 27.0
        return cost + (math.log2(gpus) + 1) * 2

    def _all(self, jobs: list[Live], restart: bool) -> None:
        """Lay the jobs out by size; a set of GPUs that had a communicator keeps it."""
        rank = 0
        for job in sorted(jobs, key=lambda job: (-job.held, job.key)):
            if job.held == 0:
                break
            known = (rank, job.held) in self.seen
            self.seen.add((rank, job.held))
            rank += job.held
            job.pause_s = (7.0 if self.large else 2.0) if known else self._cost(job.held, restart)
        if restart:
            self.seen.clear()


def simulate(
    entries: list[Entry], decide: Decide, fleet: Fleet, pauses: Pauses, progress: Progress
) -> Ledger:
    """Run the trace through one policy until nobody is left."""
    count = len(entries)
    nan = np.full(count, math.nan)
    ledger = Ledger(
        ended_s=nan.copy(),
        first_s=nan.copy(),
        promised_s=nan.copy(),
        declined_s=nan.copy(),
        gpu_s=np.zeros(count),
    )
    live: list[Live] = []
    arrived, now_s, in_vain = 0, entries[0].submitted_s if entries else 0.0, 0
    while arrived < count or live:
        while arrived < count and entries[arrived].submitted_s <= now_s:
            live.append(_enter(entries[arrived], arrived))
            arrived += 1
        live.sort(key=lambda job: (job.held == 0, job.key))
        answer = decide(now_s, live, fleet)
        live = _carry_out(live, answer, now_s, fleet, pauses, ledger)
        in_vain = 0 if any(job.held for job in live) or not live else in_vain + 1
        next_s = entries[arrived].submitted_s if arrived < count else math.inf
        for job in live:
            if job.held:
                next_s = min(next_s, now_s + job.pause_s + job.left / job.rate)
        next_s = min(next_s, answer.wake_s)
        if live and (next_s == math.inf or in_vain > IN_VAIN_MAX):
            raise InvalidInput(
                f"job {live[0].key} waits for ever: this policy gives {live[0].asked} of "
                f"{fleet.gpus} GPUs to nobody"
            )
        if next_s == math.inf:
            break
        next_s = max(next_s, now_s + fleet.slot_s)
        live = _advance(live, now_s, next_s, pauses, ledger)
        now_s = next_s
        progress(arrived / count)
    return ledger


def _enter(entry: Entry, key: int) -> Live:
    return Live(
        key=key,
        submitted_s=entry.submitted_s,
        deadline_s=entry.deadline_s,
        left=entry.iterations,
        curve=entry.curve,
        asked=entry.asked,
        asked_rate=entry.asked_rate,
    )


def _carry_out(
    live: list[Live],
    answer: Decision,
    now_s: float,
    fleet: Fleet,
    pauses: Pauses,
    ledger: Ledger,
) -> list[Live]:
    """Do what was decided, and return who is still there."""
    before = {job.key: job.held for job in live}
    for job in live:
        job.held = answer.gpus.get(job.key, 0)
        job.rate = _rate(job) if job.held else 0.0
        if job.key in answer.promised and not job.promised:
            job.promised, ledger.promised_s[job.key] = True, now_s
        if job.key in answer.declined:
            if job.promised:
                raise IllegalMove(f"job {job.key} was promised and then declined")
            job.held = 0
            ledger.declined_s[job.key] = now_s
        elif job.held and math.isnan(job.first_s):
            job.first_s = ledger.first_s[job.key] = now_s
        ledger.resizes += before[job.key] != job.held
    held = sum(job.held for job in live)
    if held > fleet.gpus:
        raise IllegalMove(f"{held} GPUs were given away, {fleet.gpus} are there")
    live = [job for job in live if job.key not in answer.declined]
    pauses.charge(live, before)
    ledger.decisions += 1
    ledger.series.append((now_s, held, len(live)))
    return live


def _rate(job: Live) -> float:
    if job.held == job.asked:
        return job.asked_rate
    curve = job.curve
    level = curve.fits(job.held)
    if level >= 0 and curve.counts[level] == job.held:
        return curve.rates[level]
    if job.held == curve.widest:
        return curve.widest_rate
    raise IllegalMove(f"job {job.key} holds {job.held} GPUs, for which it has no measured rate")


def _advance(
    live: list[Live], now_s: float, next_s: float, pauses: Pauses, ledger: Ledger
) -> list[Live]:
    """Let everybody work until the next decision; return who is not done."""
    staying: list[Live] = []
    span_s = next_s - now_s
    for job in live:
        if not job.held:
            staying.append(job)
            continue
        need_s = job.pause_s + job.left / job.rate
        if need_s <= span_s + 1e-9:
            forgiven_s = job.pause_s if pauses.forgives else 0.0
            ledger.ended_s[job.key] = now_s + need_s - forgiven_s
            used_s, work_s = need_s, need_s - job.pause_s
        else:
            used_s, work_s = span_s, max(0.0, span_s - job.pause_s)
            job.left -= work_s * job.rate
            job.pause_s = max(0.0, job.pause_s - span_s)
            staying.append(job)
        job.run_s += work_s
        ledger.gpu_s[job.key] += used_s * job.held
        ledger.busy_s += work_s * job.held
    return staying


def run(options: Options, policy: str, seed: int, data_folder: Path, progress: Progress) -> Outcome:
    """Run one policy over the trace. There is no chance in it: every seed gives the same."""
    fleet = Fleet(
        gpus=options.gpus,
        node_gpus=options.node_gpus,
        slot_s=options.slot_s,
        pause_s=21.0 if options.gpus >= LARGE_FLEET_GPUS else 16.0,
        pauses_all=options.pause == "source",
    )
    curves = read_curves(data_folder / options.curves)
    entries = read_trace(data_folder / options.trace, curves, gpus=options.gpus)
    if options.jobs_max:
        entries = entries[: options.jobs_max]
    pauses = Pauses(options.pause, fleet, policy)
    ledger = simulate(entries, POLICIES[policy](), fleet, pauses, progress)
    return _outcome(entries, ledger, fleet)


def _outcome(entries: list[Entry], ledger: Ledger, fleet: Fleet) -> Outcome:
    """Return the figures, the tables and the accounting of a run."""
    count = len(entries)
    columns = _columns(entries, ledger)
    done, refused = np.isfinite(columns["ended_s"]), np.isfinite(columns["declined_s"])
    start_s = float(columns["submitted_s"].min()) if count else 0.0
    span_s = float(columns["ended_s"][done].max()) - start_s if done.any() else 0.0
    offered, allocated = span_s * fleet.gpus, float(ledger.gpu_s.sum())
    feasible = np.array([entry.feasible for entry in entries], dtype=bool)
    metrics = _promises(columns, fleet) | {
        "feasible_alone_share": _share(feasible, count),
        "declined_share": _share(refused, count),
        "jct_s_mean": float((columns["ended_s"] - columns["submitted_s"])[done].mean())
        if done.any()
        else math.nan,
        "makespan_s": span_s,
        "allocation_share": allocated / offered if offered else 0.0,
        "busy_share": ledger.busy_s / offered if offered else 0.0,
        "decisions": float(ledger.decisions),
        "resizes_per_job": ledger.resizes / count if count else 0.0,
    }
    return Outcome(
        metrics=metrics,
        accounting=Accounting(
            submitted=count,
            finished=int(done.sum()),
            rejected=int(refused.sum()),
            waiting=count - int(done.sum()) - int(refused.sum()),
            device_s_offered=offered,
            device_s_allocated=allocated,
            device_s_idle=offered - allocated,
        ),
        tables={
            "jobs": columns,
            "series": {
                "at_s": np.array([at for at, _, _ in ledger.series]),
                "gpus_held": np.array([held for _, held, _ in ledger.series]),
                "jobs": np.array([jobs for _, _, jobs in ledger.series]),
            },
        },
    )


def _columns(entries: list[Entry], ledger: Ledger) -> dict[str, np.ndarray]:
    deadline = np.array([entry.deadline_s for entry in entries])
    return {
        "submitted_s": np.array([entry.submitted_s for entry in entries]),
        "deadline_s": deadline,
        "first_s": ledger.first_s,
        "promised_s": ledger.promised_s,
        "declined_s": ledger.declined_s,
        "ended_s": ledger.ended_s,
        "gpu_s": ledger.gpu_s,
        "met": np.isfinite(ledger.ended_s) & (ledger.ended_s <= deadline + 1e-6),
    }


def _promises(columns: dict[str, np.ndarray], fleet: Fleet) -> dict[str, float]:
    """Return what was promised and met; of no promises there is no share that was kept."""
    met, count = columns["met"], len(columns["met"])
    promised = np.isfinite(columns["promised_s"])
    soon_s = columns["submitted_s"] + 2 * fleet.slot_s
    shares = {
        "deadline_share": _share(met, count),
        "promised_share": _share(promised, count),
        "promised_at_once_share": _share(promised & (columns["promised_s"] <= soon_s), count),
    }
    if promised.any():
        shares["promise_kept_share"] = _share(met & promised, int(promised.sum()))
    return shares


def _share(which: np.ndarray, of: int) -> float:
    return float(which.sum()) / of if of else 1.0


KIND = Kind(options=Options, policies=tuple(sorted(POLICIES)), run=run)
