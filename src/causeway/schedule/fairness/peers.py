"""Policies of others on rounds, from their papers and from how Shockwave's simulator runs them.

Each gives shares of time, which `Credit` turns into rounds, or chooses the round itself.

* `max_min`: Gavel's max-min fairness on equal devices: equal shares of GPU time.
* `allox`: least mean completion time over single devices (Le et al., EuroSys 2020). Of the waiting
  jobs the oldest are matched to (device, place from its end); who comes first on a device gets it.
  On equal devices that matching has a closed form, below. A one-GPU job keeps its device to its
  end.
* `gandiva_fair`: tickets per GPU (Chaudhary et al., EuroSys 2020) among equal users: shares in
  proportion to need, so that every job of a GPU count gets the same part of time.
* `ossp`: shares in proportion to the remaining time, which all then finish together: the optimum of
  makespan where jobs may be stopped at any time.
* `worst_rho`: the jobs of the worst finish-time fairness, chosen anew in every round. That is the
  aim of Themis (Mahajan et al., NSDI 2020) without its auction, and better than its published row.
* `srpt`: the least remaining time at the present batch size.

Shockwave has a module of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from causeway.schedule.fairness.member import Member, Pool, fill, rho

ALLOX_SEEN_SHARE = 0.2
"""The part of the waiting jobs, oldest first, that AlloX looks at; as its authors publish."""


def max_min(now_s: float, members: Sequence[Member], pool: Pool) -> Mapping[int, float]:
    """Return equal GPU time for all, more where some cannot use theirs (water filling)."""
    shares: dict[int, float] = {}
    free, waiting = float(pool.gpus), sorted(members, key=lambda one: (one.gpus, one.key))
    while waiting:
        level = free / len(waiting)
        one = waiting.pop(0)
        shares[one.key] = min(1.0, level / one.gpus)
        free -= shares[one.key] * one.gpus
    return shares


def gandiva_fair(now_s: float, members: Sequence[Member], pool: Pool) -> Mapping[int, float]:
    """Return the same part of time for all."""
    need = sum(member.gpus for member in members)
    return {member.key: min(1.0, pool.gpus / need) for member in members}


def ossp(now_s: float, members: Sequence[Member], pool: Pool) -> Mapping[int, float]:
    """Return shares by which all end together, as far as the longest alone allows."""
    work = sum(member.left_now_s * member.gpus for member in members)
    longest_s = max((member.left_now_s for member in members), default=0.0)
    until_s = max(work / pool.gpus, longest_s, 1e-9)
    return {member.key: member.left_now_s / until_s for member in members}


class Allox:
    """The shares of AlloX, which remembers who has one."""

    def __init__(self) -> None:
        self.kept: dict[int, float] = {}

    def __call__(self, now_s: float, members: Sequence[Member], pool: Pool) -> Mapping[int, float]:
        """Return who has a share: those that had, and the shortest of the others."""
        here = {member.key for member in members}
        self.kept = {key: share for key, share in self.kept.items() if key in here}
        room = pool.gpus - sum(share == 1.0 for share in self.kept.values())
        others = sorted(
            (one for one in members if self.kept.get(one.key) != 1.0), key=lambda one: one.key
        )
        seen = others[: max(int(ALLOX_SEEN_SHARE * len(others)), room, 0)]
        for one in _first_places(seen, room):
            self.kept[one.key] = 1.0 / one.gpus
        return {member.key: self.kept.get(member.key, 0.0) for member in members}


def _first_places(seen: Sequence[Member], room: int) -> list[Member]:
    """Return who comes first on each of so many equal devices.

    The matching costs place x time, places counted from a device's end, so the longest `room` jobs
    are last, the next longest before them, and so on. The shortest ones, where they do not fill a
    layer, come first on their devices; on the other devices it is someone of the layer behind, and
    which one is a tie that costs nothing: the oldest, here.
    """
    if room <= 0 or not seen:
        return []
    shortest = sorted(seen, key=lambda one: (one.left_now_s, one.key))
    top = len(shortest) % room or min(room, len(shortest))
    behind = sorted(shortest[top : top + room], key=lambda one: one.key)
    return shortest[:top] + behind[: room - top]


def worst_rho(now_s: float, members: Sequence[Member], pool: Pool) -> list[int]:
    """Return those of the worst finish-time fairness under the contention of now."""
    contention = max(1.0, len(members) / pool.gpus)
    return fill(sorted(members, key=lambda one: (-rho(one, now_s, contention), one.key)), pool)


def srpt(now_s: float, members: Sequence[Member], pool: Pool) -> list[int]:
    """Return those that would be done first."""
    return fill(sorted(members, key=lambda one: (one.left_now_s, one.key)), pool)
