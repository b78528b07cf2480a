"""Availability arithmetic: five published formulas, named, side by side.

All times are seconds. They answer different questions and rest on different models, so none
replaces another; pages show them together with their names. Common limit: failures are taken as
Poisson and independent, which real ones are not (a few bad nodes cause most of them).
"""

from __future__ import annotations

from math import sqrt

from causeway.model.errors import InvalidInput

S_PER_DAY = 86_400.0


def availability_share(*, interval_s: float, mttr_s: float, mtbf_s: float) -> float:
    """Return A = 1 - (T/2 + MTTR) / MTBF, floored at 0.

    T is the checkpoint interval: a failure loses half of one on average, plus the repair. Source:
    Huawei's AI data centre white paper. Limit: the time that saving itself takes is not in it.

    At the mean time between failures of the Llama 3 run (2.78 h):

    >>> hour = 3600
    >>> round(availability_share(interval_s=1800, mttr_s=600, mtbf_s=2.78 * hour), 3)
    0.85
    >>> round(availability_share(interval_s=60, mttr_s=12, mtbf_s=2.78 * hour), 3)
    0.996
    """
    _positive(mtbf_s=mtbf_s)
    return max(0.0, 1 - (interval_s / 2 + mttr_s) / mtbf_s)


def young_interval_s(*, save_s: float, mtbf_s: float) -> float:
    """Return Young's interval sqrt(2 * C * M) for a blocking save of C and an MTBF of M.

    Source: J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM
    1974. Limit: first order, good while C is far below M.

    >>> round(young_interval_s(save_s=150, mtbf_s=2.78 * 3600) / 60)
    29
    """
    _positive(mtbf_s=mtbf_s)
    return sqrt(2 * save_s * mtbf_s)


def daly_interval_s(*, save_s: float, mtbf_s: float) -> float:
    """Return Daly's higher-order interval; M itself where saving takes 2 M or more.

    sqrt(2 C M) * (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C. Source: J. T. Daly, "A higher order
    estimate of the optimum checkpoint interval for restart dumps", FGCS 2006. It counts the compute
    time between saves, so it is a little shorter than Young's for real C.

    >>> round(daly_interval_s(save_s=150, mtbf_s=2.78 * 3600) / 60, 1)
    27.2
    >>> daly_interval_s(save_s=300, mtbf_s=100)
    100
    """
    _positive(mtbf_s=mtbf_s)
    if save_s >= 2 * mtbf_s:
        return mtbf_s
    ratio = save_s / (2 * mtbf_s)
    return sqrt(2 * save_s * mtbf_s) * (1 + sqrt(ratio) / 3 + ratio / 9) - save_s


def expected_ettr_share(
    *, nodes: int, failures_per_node_day: float, restart_s: float, interval_s: float, save_s: float
) -> float:
    """Return the expected effective training time ratio of a job, floored at 0.

    E[ETTR] = (1 - N * r * (u0 + dt/2)) / (1 + w/dt), with r failures per node-day, u0 the restart,
    dt the checkpoint interval and w the blocking time of one save. Source: Kokolis et al.,
    "Revisiting Reliability in Large-Scale Machine Learning Research Clusters", arXiv 2410.21680;
    they measured r = 6.50e-3 and 2.34e-3 on two clusters. Limit: 1/N scaling is wrong
    for small jobs (at 1,024 GPUs it says 28.8 h between failures where 7.9 h were measured).

    >>> round(expected_ettr_share(
    ...     nodes=2048, failures_per_node_day=6.5e-3, restart_s=300, interval_s=300, save_s=5), 3)
    0.915
    """
    if interval_s <= 0:
        raise InvalidInput("a checkpoint interval is above zero", where="interval_s")
    lost = nodes * failures_per_node_day / S_PER_DAY * (restart_s + interval_s / 2)
    return max(0.0, 1 - lost) / (1 + save_s / interval_s)


def best_interval_s(*, save_s: float, mtbf_s: float, mttr_s: float) -> float:
    """Return the interval of greatest availability: Ts + sqrt(2 (Tf + Tr) Ts + Ts^2).

    Ts is the save, Tf the time to failure, Tr the repair; the interval includes the save. Source:
    Saxena et al., arXiv 2410.18124. Longer than Young's where repairs are slow.

    >>> round(best_interval_s(save_s=1, mtbf_s=10_000, mttr_s=0))
    142
    """
    _positive(mtbf_s=mtbf_s)
    return save_s + sqrt(2 * (mtbf_s + mttr_s) * save_s + save_s**2)


def _positive(*, mtbf_s: float) -> None:
    if mtbf_s <= 0:
        raise InvalidInput("the mean time between failures is above zero", where="mtbf_s")
