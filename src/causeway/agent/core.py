"""The brain of an agent: stimuli in, instructions out, nothing else.

It has no clock (every call carries the island's monotonic `now_ms`), no network, no disk and no
chance, so the simulation test runs the very same class under a virtual clock. A shell carries the
instructions out in order and brings what happens back as the next stimulus.

What it holds true, whatever is lost, doubled, delayed or reordered on the way:

- never two live attempts of one job here; a newer fence kills the older attempt first and waits
  until the engine says that it is gone; an older fence is never begun;
- when the lease of the newest answered sync runs out, every `deadline_stop` attempt is killed;
- usage intervals are contiguous, and an end is told only together with the closing one;
- what is told is in the journal first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from causeway.agent import renting, ticks
from causeway.agent.attempt import OPEN, AgentJournal, Cause, Held, Key, Stage, report
from causeway.agent.holdings import Holdings
from causeway.agent.instructions import Instruction, Problem
from causeway.model.islands import Health, Inventory, Profile
from causeway.model.protocol import CheckpointReport, Phase, SyncReply, SyncRequest, Wiped
from causeway.model.resources import Capacity
from causeway.model.values import replace
from causeway.ports.engine import Status

TICK_MS = 10_000
IN_FLIGHT_MS_MAX = 15_000
"""A sync that was not answered for so long is taken for lost."""


class AgentCore:
    """One island's agent, as a deterministic state machine."""

    def __init__(
        self,
        journal: AgentJournal,
        *,
        profile: Profile,
        inventory: Inventory,
        root: Path,
        base_envs: Mapping[str, str] | None = None,
        tick_ms: int = TICK_MS,
        outlived: bool = False,
    ) -> None:
        """Go on from a journal (at first `AgentJournal(island=...)`). What the engine no longer
        knows is reported failed after the first `on_engine`; an old lease counts as run out,
        unless attempts outlive the agent (`outlived`) and the engine guards their leases."""
        self._book = Holdings(
            journal,
            profile=profile,
            inventory=inventory,
            root=root,
            base_envs=base_envs or {},
            tick_ms=tick_ms,
            outlived=outlived,
        )
        self.draining = False
        self._seq = 0
        self._sent: dict[int, tuple[int, int]] = {}
        """Sync -> when it was sent, and which inventory it carried."""
        self._known = ""
        self._inventory = 1
        self._inventory_told = 0

    def journal(self) -> AgentJournal:
        """Return everything that must survive a kill. Secrets are not in it."""
        return self._book.journal()

    @property
    def attempts(self) -> Mapping[Key, Held]:
        """The attempts that are held, by (job, fence). Read only."""
        return self._book.held

    @property
    def inventory(self) -> Inventory:
        """What was last found here."""
        return self._book.inventory

    @property
    def news(self) -> int:
        """Grows when something happened that the centre should hear at once."""
        return self._book.news

    @property
    def revision(self) -> int:
        """Grows with every change of the journal; a shell may skip writing the same one twice."""
        return self._book.revision

    @property
    def deadline_ms(self) -> int | None:
        """When the lease runs out; None before the first answered sync."""
        return self._book.deadline_ms

    @property
    def busy(self) -> bool:
        """Whether the engine should be polled often."""
        return any(held.stage in OPEN for held in self._book.held.values())

    @property
    def settled(self) -> bool:
        """Whether nothing runs and nothing is on its way any more."""
        return all(held.stage in (Stage.DONE, Stage.REFUSED) for held in self._book.held.values())

    @property
    def free(self) -> Capacity:
        """Capacity that no open attempt holds."""
        return self._book.free()

    # -- the exchange with the centre -----------------------------------------------------------

    def on_session(self) -> None:
        """A new session began: tell everything again. Answers of older ones are to be dropped."""
        self._inventory_told = 0
        self._known = ""
        for seq in list(self._sent):
            self.on_lost(seq)

    def on_inventory(self, inventory: Inventory) -> None:
        """Take a fresh probe of the host in."""
        if inventory != self._book.inventory:
            self._book.inventory = inventory
            self._inventory += 1

    def sync_request(
        self,
        now_ms: int,
        *,
        health: Health | None = None,
        leaving: bool = False,
        reclaim: bool = False,
    ) -> SyncRequest:
        """Return the next sync. Everything asked for earlier must be carried out, the journal
        above all. `now_ms` is the sending instant that the lease will count from."""
        for seq, (sent_ms, _) in list(self._sent.items()):
            if now_ms - sent_ms > IN_FLIGHT_MS_MAX:
                self.on_lost(seq)
        self._seq += 1
        self._sent[self._seq] = (now_ms, self._inventory)
        book = self._book
        reports = tuple(
            report(held, now_ms, book.progress[key].take(self._seq))
            for key, held in book.held.items()
            if not held.released
        )
        return SyncRequest(
            seq=self._seq,
            known=self._known,
            inventory=book.inventory if self._inventory_told < self._inventory else None,
            health=health,
            reports=reports,
            leaving=leaving,
            reclaim=reclaim,
        )

    def on_lost(self, seq: int) -> None:
        """Sync `seq` failed or was given up: what only it carried goes again."""
        if self._sent.pop(seq, None) is not None:
            for progress in self._book.progress.values():
                progress.lost(seq)

    def on_reply(
        self, reply: SyncReply, sent_monotonic_ms: int, *, now_ms: int
    ) -> list[Instruction]:
        """Take an answer in: any answer of this session, in any order, any number of times."""
        book = self._book
        book.expire(now_ms)
        until_ms = sent_monotonic_ms + reply.lease_ms
        book.extend(until_ms)
        self._answered(reply)
        for ack in reply.acks:
            held = book.held.get((ack.job, ack.fence))
            if held is not None:
                book.put(ticks.acknowledged(held, ack.ticks))
        for release in reply.release:
            book.release((release.job, release.fence))
        for stop in reply.stop:
            held = book.held.get((stop.job, stop.fence))
            if held is not None:
                book.stop(held, stop.grace_ms, Cause.ASKED)
            else:
                book.pass_over(stop.job, stop.fence)
        # An answer that took longer than its own lease may not begin anything.
        if now_ms < until_ms:
            for start in reply.start:
                book.start(start)
        book.launch_ready()
        return book.instructions()

    def _answered(self, reply: SyncReply) -> None:
        sent = self._sent.pop(reply.seq, None)
        if sent is not None:
            self._known = reply.version
            self._inventory_told = max(self._inventory_told, sent[1])
            for progress in self._book.progress.values():
                progress.arrived(reply.seq)
        if reply.send_inventory:
            self._inventory_told = 0
        self.draining = reply.draining

    # -- what happens at the island -------------------------------------------------------------

    def on_engine(self, statuses: Mapping[Key, Status], now_ms: int) -> list[Instruction]:
        """Take a poll of the engine in. It must have been taken after every earlier instruction
        was carried out: what it does not name is gone."""
        book = self._book
        book.expire(now_ms)
        book.poll(statuses, now_ms)
        book.launch_ready()
        return book.instructions()

    def on_staged(
        self, job: str, fence: int, *, now_ms: int, problem: Problem | None = None
    ) -> list[Instruction]:
        """Staging is over: well, or with a problem."""
        book = self._book
        book.expire(now_ms)
        held = book.held.get((job, fence))
        if held is not None and held.stage is Stage.STAGING:
            ready = replace(held, stage=Stage.READY)
            if problem is None:
                book.put(ready)
                book.launch_ready()
            else:
                message = f"its inputs could not be fetched: {problem.message}"
                book.abort(ready, phase=Phase.FAILED, failure=problem.failure, message=message)
        return book.instructions()

    def on_progress(
        self, job: str, fence: int, lines: Sequence[bytes], *, now_ms: int
    ) -> list[Instruction]:
        """Take new whole lines of the attempt's progress file in."""
        book, key = self._book, (job, fence)
        held = book.held.get(key)
        if held is not None and book.progress[key].add(lines, held.elapsed_ms(now_ms)):
            # The first step beyond where it resumed is news; later ones ride with the heartbeat.
            first = held.last_step <= held.start.resume_step
            moved = replace(held, last_step=book.progress[key].last_step)
            ready = renting.handed_over(moved, now_ms)
            book.put(ready, durable=ready is not moved, news=first)
        return book.instructions()

    def on_checkpoint_found(
        self, job: str, fence: int, step: int, *, now_ms: int
    ) -> list[Instruction]:
        """A complete checkpoint folder is there."""
        held = self._book.held.get((job, fence))
        # Nothing of a rental is kept, whatever its renter writes there.
        kept = held is not None and held.start.spec.rental is None
        if held is not None and kept and step > held.found_step:
            self._book.put(replace(held, found_step=step, tries=0, retry_ms=0))
            self._book.further(held.key, now_ms)
        return self._book.instructions()

    def on_checkpoint(
        self, job: str, fence: int, outcome: CheckpointReport | Problem, *, now_ms: int
    ) -> list[Instruction]:
        """An upload of a checkpoint is over: whole at the centre, or with a problem."""
        book = self._book
        held = book.held.get((job, fence))
        if held is not None and held.uploading:
            if isinstance(outcome, Problem):
                book.upload_failed(held, outcome, now_ms)
            else:
                at_centre = held.checkpoint.step if held.checkpoint else -1
                newest = outcome if outcome.step > at_centre else held.checkpoint
                sent = replace(held, checkpoint=newest, uploading=False, tries=0, retry_ms=0)
                book.put(sent, news=True)
            book.further(held.key, now_ms)
        return book.instructions()

    def on_looked(self, job: str, fence: int, *, now_ms: int) -> list[Instruction]:
        """The last look at an ended attempt is over."""
        held = self._book.held.get((job, fence))
        if held is not None and held.stage is Stage.CLOSING:
            self._book.put(replace(held, looked=True), durable=False)
            self._book.further(held.key, now_ms)
        return self._book.instructions()

    def on_wiped(self, job: str, fence: int, outcome: Wiped, *, now_ms: int) -> list[Instruction]:
        """A wipe is over; what could not be removed is in the outcome."""
        held = self._book.held.get((job, fence))
        if held is not None and held.wiping:
            self._book.wiped(held, outcome, now_ms)
            self._book.further(held.key, now_ms)
        return self._book.instructions()

    def on_outputs(
        self, job: str, fence: int, outcome: Mapping[str, str] | Problem, *, now_ms: int
    ) -> list[Instruction]:
        """The upload of the outputs is over: path -> artefact for all, or a problem."""
        book = self._book
        held = book.held.get((job, fence))
        if held is not None and held.uploading and held.stage is Stage.CLOSING:
            if isinstance(outcome, Problem):
                book.upload_failed(held, outcome, now_ms)
            else:
                kept = replace(
                    held, outputs=dict(outcome), uploading=False, failure=None, message=""
                )
                book.put(kept)
            book.further(held.key, now_ms)
        return book.instructions()

    def on_time(self, now_ms: int) -> list[Instruction]:
        """Time has passed: deadlines and retries. Call it at `next_ms()`; earlier does no harm."""
        self._book.expire(now_ms)
        for key in list(self._book.held):
            self._book.further(key, now_ms)
        return self._book.instructions()

    def next_ms(self) -> int | None:
        """Return the next instant at which `on_time` has something to do; None: not by itself."""
        return self._book.next_ms()

    def leave(self, *, grace_ms: int) -> list[Instruction]:
        """Begin to leave cleanly: end what runs, with time to save; take nothing new."""
        self._book.leaving = True
        for held in list(self._book.held.values()):
            self._book.stop(held, grace_ms, Cause.LEAVING)
        return self._book.instructions()
