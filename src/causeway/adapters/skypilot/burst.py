"""One round of a burst: look, observe, decide, write down, act.

The order is what makes a kill at any point harmless. A rental is written down under its name before
SkyPilot hears that name; a launch whose answer was lost is found by its name; and a machine is
struck off only when SkyPilot neither has it nor is about to make it. When either SkyPilot or the
control plane does not answer, the round changes nothing: what is rented ends its lease by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from causeway import burst as room
from causeway.adapters.skypilot import fits, parcel, said, task
from causeway.adapters.skypilot.book import Book
from causeway.adapters.skypilot.centre import Centre, Seen
from causeway.adapters.skypilot.profile import BurstProfile
from causeway.adapters.skypilot.wire import Sky, SkyFailed
from causeway.burst import OPEN, Decision, Launch, Machine, Picture, Rental, Sight, Stage, Wish
from causeway.burst.terms import Step, moved
from causeway.model.errors import CausewayError, NotFound
from causeway.model.reasons import Reason, Token
from causeway.model.values import replace
from causeway.schedule import Matches, Verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """What the rooms of law and search say; the wiring chooses them."""

    matches: Matches
    verdicts: Verdicts


class Burst:
    """One burst over its book."""

    def __init__(
        self, profile: BurstProfile, *, book: Book, sky: Sky, centre: Centre, judges: Judges
    ) -> None:
        self.profile = profile
        self.book = book
        self._sky = sky
        self._centre = centre
        self._judges = judges
        self._without: frozenset[str] = frozenset()

    def check(self) -> frozenset[str]:
        """Ask SkyPilot which clouds of the profile it can rent from; return the others, whose
        offers are left out from now on."""
        clouds = {place.cloud for place in self.profile.places}
        can = said.enabled(self._sky.ask("/check", {"clouds": sorted(clouds)}))
        self._without = frozenset(clouds - can)
        return self._without

    def look(self, now_ms: int, *, closing: bool = False) -> tuple[Decision, ...]:
        """Look at everything, write down what was seen, and return what is decided."""
        self._observe(now_ms)
        offers: tuple[room.Offer, ...] = ()
        waiting: tuple[room.Waiting, ...] = ()
        if not closing:
            offers = self.offers()
            pools = fits.views(offers, self.profile, now_ms=now_ms)
            waiting = fits.weigh(
                self._centre.waiting(),
                pools,
                now_ms=now_ms,
                matches=self._judges.matches,
                verdicts=self._judges.verdicts,
            )
        page = self.book.page
        decisions = room.decide(
            Picture(
                now_ms=now_ms,
                policy=self.profile.policy,
                offers=offers,
                rentals=page.rentals,
                spent_micros=page.spent_micros,
                waiting=waiting,
                in_vain=frozenset(page.in_vain),
                closing=closing,
            )
        )
        return decisions

    def act(self, decisions: Sequence[Decision], now_ms: int, say: Callable[[str], None]) -> None:
        """Carry decisions out. What fails for one machine is said, and tried again next round."""
        self._note_vain(decisions)
        for one in decisions:
            try:
                self._carry_out(one, now_ms, say)
            except CausewayError as error:
                say(f"{one.rental or (one.offer.id if one.offer else '')}: {error.message}")

    def offers(self) -> tuple[room.Offer, ...]:
        """Return what SkyPilot's catalogue has for the places of the profile, cheapest first."""
        clouds = sorted({place.cloud for place in self.profile.places} - self._without)
        if not clouds:
            return ()
        wish = {"gpus_only": True, "clouds": clouds, "all_regions": True, "require_price": True}
        rows = self._sky.ask("/list_accelerators", {**wish, "case_sensitive": False})
        return said.offers(rows, self.profile)

    def strangers(self) -> tuple[str, ...]:
        """Return machines that carry this burst's name and are not in its book."""
        known = {one.name for one in self.book.page.rentals}
        there = self._clusters(None)
        return tuple(n for n in sorted(there) if n.startswith(self._prefix()) and n not in known)

    def _prefix(self) -> str:
        return f"{self.profile.name}-{self.book.page.id}-"

    # --- looking ---------------------------------------------------------------------------------

    def _observe(self, now_ms: int) -> None:
        open_ = [one for one in self.book.page.rentals if one.stage in OPEN]
        if not open_:
            return
        islands = self._centre.islands()
        # Requests before machines: what a launch that is over has made is then on the list.
        launches = {
            one.name: said.launch_of(self._sky.requests(one.name, over=True)) for one in open_
        }
        clusters = self._clusters([one.name for one in open_])
        after = []
        for one in open_:
            launch, cluster = launches[one.name], clusters.get(one.name)
            sight = self._sight(one, launch, cluster, islands.get(one.name))
            after.append(room.observe(one, sight, now_ms))
        for one in after:
            if one.stage is Stage.GONE and one.island:
                # Before it is struck off, so that a kill in between does it once more.
                self._expel(one.island)
        self.book.note(after, self.profile.policy)

    def _sight(
        self,
        rental: Rental,
        launch: said.Asked | None,
        cluster: said.Cluster | None,
        island: Seen | None,
    ) -> Sight:
        state = launch.state if launch is not None else Launch.NONE
        why = ""
        if launch is not None and state is Launch.FAILED and rental.stage is not Stage.RETURNING:
            why = f"{rental.name} at {rental.offer.infra}: {self._sky.why(launch.id)}"
        return Sight(
            launch=state,
            machine=cluster.machine if cluster is not None else Machine.ABSENT,
            request=launch.id if launch is not None else "",
            message=why or (cluster.message if cluster is not None else ""),
            island=island.id if island is not None else "",
            live=island is not None and island.live,
            jobs=island.jobs if island is not None else 0,
        )

    def _clusters(self, names: Sequence[str] | None) -> dict[str, said.Cluster]:
        wish = {"cluster_names": names, "refresh": "AUTO" if names else "NONE"}
        more = {"include_credentials": False, "summary_response": True, "include_handle": False}
        return said.clusters(self._sky.ask("/status", {**wish, "all_users": True, **more}))

    def _expel(self, island: str) -> None:
        try:
            self._centre.expel(island)
        except NotFound:
            # It never joined, or the centre has forgotten it already.
            return

    # --- acting ----------------------------------------------------------------------------------

    def _carry_out(self, one: Decision, now_ms: int, say: Callable[[str], None]) -> None:
        match one.wish:
            case Wish.RENT if one.offer is not None:
                rental = self.book.intend(
                    one.offer, burst=self.profile.name, now_ms=now_ms, policy=self.profile.policy
                )
                say(f"{rental.name}: asked for, {one.offer.id}")
                self._launch(rental, say)
            case Wish.KEEP:
                rental = self._rental(one.rental)
                if rental.stage is Stage.INTENDED:
                    say(f"{rental.name}: asked for again; SkyPilot has not heard of it.")
                    self._launch(rental, say)
            case Wish.GIVE_BACK:
                self._give_back(self._rental(one.rental), one.reasons[0], now_ms, say)

    def _launch(self, rental: Rental, say: Callable[[str], None]) -> None:
        """Ask for a machine that is written down already."""
        profile = self.profile
        try:
            # A dry question first: what can never work is not begun.
            dag = task.dag(rental, disk_gib=profile.disk_gib)
            self._sky.ask("/optimize", {"dag": dag, "minimize": 0, "request_options": None})
        except SkyFailed as error:
            self._fail(rental, error.message)
            say(f"{rental.name}: {error.message}")
            return
        url, ca = self._centre.address
        authority = Path(ca).read_text() if ca else ""
        blob = self._sky.upload(
            parcel.parcel(rental, profile, url=profile.url or url, ca=authority)
        )
        text = task.task(
            rental,
            token=self._centre.join_token(rental.name),
            disk_gib=profile.disk_gib,
            poweroff=profile.poweroff,
            grace_ms=profile.policy.grace_ms,
        )
        body = {"task": text, "cluster_name": rental.name, "quiet_optimizer": True}
        request = self._sky.begin("/launch", body, blob=blob)
        stage = moved(rental, Step.TAKEN)
        self._write(replace(rental, stage=stage, request=request))

    def _fail(self, rental: Rental, message: str) -> None:
        stage = moved(rental, Step.GIVE_BACK)
        self._write(replace(rental, stage=stage, failed=True, message=message))

    def _give_back(
        self, rental: Rental, why: Reason, now_ms: int, say: Callable[[str], None]
    ) -> None:
        if rental.stage is not Stage.RETURNING:
            say(why.message)
            rental = replace(
                rental,
                stage=moved(rental, Step.GIVE_BACK),
                failed=why.token is Token.UNHEALTHY,
                message=why.message,
            )
            self._write(rental)
        island = self._centre.islands().get(rental.name)
        if island is not None and island.live:
            if not island.cordoned:
                self._centre.drain(island.id)
            if island.jobs and now_ms < rental.until_ms:
                # What runs there is being moved; it is looked at again in the next round.
                return
        self._down(rental)

    def _down(self, rental: Rental) -> None:
        """Ask SkyPilot to take the machine away, unless it is at that already."""
        under_way = self._sky.requests(rental.name, over=False)
        if any(one.name == "sky.down" for one in under_way):
            return
        launches = [one.id for one in under_way if one.name == "sky.launch"]
        if launches:
            self._sky.ask("/api/cancel", {"request_ids": launches, "user_id": None})
        if rental.name in self._clusters([rental.name]):
            self._sky.begin("/down", {"cluster_name": rental.name})

    def _rental(self, name: str) -> Rental:
        return next(one for one in self.book.page.rentals if one.name == name)

    def _write(self, rental: Rental) -> None:
        self.book.note((rental,), self.profile.policy)

    def _note_vain(self, decisions: Sequence[Decision]) -> None:
        offer_of = {one.name: one.offer.id for one in self.book.page.rentals}
        backs = [one for one in decisions if one.wish is Wish.GIVE_BACK]
        pairs = {(job, offer_of[one.rental]) for one in backs for job in one.jobs}
        waiting = {job for one in decisions for job in one.jobs}
        self.book.note_vain({*self.book.page.in_vain, *pairs}, waiting)
