"""How many replicas a load needs so that its latency class is kept: a first model, closed form.

A replica prefills one request at a time and decodes up to `slots` of them together, at no more than
`tpot_s` a token. A request waits for a slot, then for prefill; its first token comes after. The
class is kept while at most `miss_share` of requests see theirs later than `ttft_s`. Half of that
share is granted to each of the two waits (a union bound, so the sum errs on the safe side):

    prefill   GI/G/n: Erlang's delay probability C, and an exponential tail whose mean is scaled by
              (ca2 + cs2) / 2 (Allen and Cunneen; Whitt, "Approximations for the GI/G/m queue",
              1993): P(W > t) = C^(1/v) exp(-t (n mu - lambda) / v) with v = (ca2 + cs2) / 2,
              taken at t = ttft_s - s and averaged over the measured service times s. The power is
              ours, for bursts make more wait than Erlang's C says; where v < 1 it is left out
    slots     thousands of servers: square-root staffing (Halfin and Whitt, 1981) with peakedness
              z = 1 + (ca2 - 1) / 2 in place of 1 for arrivals that are not Poisson: the load per
              slot may be 1 - beta sqrt(z / (n slots)), beta such that P(wait) is the granted share

`ca2` is that of many clients' arrivals together: Whitt's hybrid (Queueing Network Analyzer, 1983,
eq. 29), between the mean of the clients' own and 1, the Poisson stream of very many small ones.

Limits. Replicas share one queue, as behind a router that knows who is free; prefill does not slow
decoding. `tests/schedule/tidal` replays the same queue request by request. Over 47 cases (two
services, 4 to 32 replicas, ca2 from 1 to 32) the closed form never asked for fewer replicas than
the replay needed; it asked for the same in 39, for 1 to 4 more in the rest, where ca2 is 16 or 32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BISECTIONS = 20
BETA_MAX = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica can do, and for whom."""

    prefill_s: Floats
    """Equally likely prefill times of a request: quantiles of its prompt's length over the rate."""
    decode_s: float
    """Mean time that a request holds its slot."""
    slots: int
    ttft_s: float
    miss_share: float = 0.01
    """Of requests that may miss; 0.01 makes it a p99 class."""

    @property
    def saturated_per_s(self) -> float:
        """Requests a second beyond which a queue grows without bound."""
        return min(1 / float(self.prefill_s.mean()), self.slots / self.decode_s)


def joint_ca2(rates: Floats, ca2: Floats) -> Floats:
    """Return the squared variation of clients' arrivals together; arrays of (time, client).

    >>> float(joint_ca2(np.array([[5.0]]), np.array([[4.0]]))[0])
    4.0
    """
    total = np.maximum(rates.sum(axis=1), 1e-12)
    mean = (rates * ca2).sum(axis=1) / total
    like = total**2 / np.maximum((rates**2).sum(axis=1), 1e-24)  # As many equal clients.
    # Whitt's weight at a load of 0.8 of the servers; the variation matters little below.
    weight = 1 / (1 + 4 * (1 - 0.8) ** 2 * np.maximum(like - 1, 0.0))
    return np.asarray(np.where(total > 1e-9, weight * mean + 1 - weight, 1.0))


def delay_share(servers: int, erlangs: Floats) -> Floats:
    """Return Erlang's C, the share that waits, for loads below `servers`.

    >>> round(float(delay_share(2, np.array([1.0]))[0]), 4)
    0.3333
    """
    # 1 / B = 1 + c / a + c (c - 1) / a^2 + ...; very small loads overflow to "nobody waits".
    factors = np.arange(servers, 0, -1)[:, None] / np.maximum(erlangs, 1e-12)
    with np.errstate(over="ignore"):
        blocked = 1 / (1 + np.cumprod(factors, axis=0).sum(axis=0))
    return np.asarray(blocked / (1 - erlangs / servers * (1 - blocked)))


def late_share(replica: Replica, replicas: int, rate_per_s: Floats, ca2: Floats) -> Floats:
    """Return the share of requests whose wait for prefill makes them miss; 1 when saturated."""
    service_s = float(replica.prefill_s.mean())
    erlangs = np.minimum(rate_per_s * service_s, replicas * (1 - 1e-9))
    cs2 = float(replica.prefill_s.var()) / service_s**2
    drain_per_s = 2 * (replicas - erlangs) / (service_s * (ca2 + cs2))
    left_s = replica.ttft_s - replica.prefill_s
    waits = np.exp(-np.maximum(left_s, 0.0)[:, None] * drain_per_s)
    delayed = delay_share(replicas, erlangs) ** (1 / np.maximum((ca2 + cs2) / 2, 1.0))
    late = np.where(left_s[:, None] > 0, delayed * waits, 1.0).mean(axis=0)
    return np.where(rate_per_s * service_s < replicas, late, 1.0)


def capacity(replica: Replica, most: int, ca2: Floats) -> Floats:
    """Return (replicas 0..most, ca2): the highest rate per second that keeps the class.

    Nothing keeps it where more than its share of prompts is too long by itself: all rows are 0.
    """
    found = np.zeros((most + 1, len(ca2)))
    share = replica.miss_share / 2
    beta = _beta(share)
    low = np.zeros(len(ca2))
    for number in range(1, most + 1):
        high = np.full(len(ca2), number / replica.prefill_s.mean())
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            kept = late_share(replica, number, middle, ca2) <= share
            low, high = np.where(kept, middle, low), np.where(kept, high, middle)
        slots = number * replica.slots
        peaked = np.maximum(1 + (ca2 - 1) / 2, 0.5)
        full = np.maximum(1 - beta * np.sqrt(peaked / slots), 0.0)
        found[number] = np.minimum(low, full * slots / replica.decode_s)
    return np.maximum.accumulate(found, axis=0)


def _beta(share: float) -> float:
    """Return the beta of Halfin and Whitt at which `share` waits.

    >>> round(_beta(0.5), 2)
    0.51
    """
    low, high = 0.0, BETA_MAX
    for _ in range(60):
        beta = (low + high) / 2
        density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
        below = (1 + math.erf(beta / math.sqrt(2))) / 2
        waits = 1 / (1 + beta * below / density)
        low, high = (beta, high) if waits > share else (low, beta)
    return high


def needed(table: Floats, grid: Floats, rate_per_s: Floats, ca2: Floats) -> NDArray[np.int64]:
    """Return how many replicas each rate needs, its `ca2` rounded up to the grid of the table.

    A rate beyond the table needs one more than it has.
    """
    column = np.minimum(np.searchsorted(grid, ca2), len(grid) - 1)
    found = np.empty(len(rate_per_s), np.int64)
    for number in range(len(grid)):
        at = column == number
        found[at] = np.searchsorted(table[:, number], rate_per_s[at])
    return found
