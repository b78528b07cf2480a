"""Hard constraints: what may not or cannot hold a job, one small function each.

A filter looks at one ask and one offer and returns the reason for excluding it, or None. Filters
read what does not change within a round; how much is still free is the round's own business.
`FILTERS` lists them with those that waiting cannot cure first, so the first reason found is the
most severe one. A filter that lacks the evidence to decide excludes: an unknown price or device
is never taken for a good one.
"""

from __future__ import annotations

from collections.abc import Callable

from causeway.model.errors import InvalidInput
from causeway.model.fleet import PoolView
from causeway.model.jobs import JobKind
from causeway.model.money import Purchase
from causeway.model.reasons import Reason, Severity, Token
from causeway.schedule.ask import Ask
from causeway.schedule.words import amount, duration, gib, held, usd

Filter = Callable[[Ask, PoolView], Reason | None]

ISOLATION_LEVELS = ("process", "limits", "sandbox", "container")
"""Weakest first; a stronger level satisfies a weaker demand."""


def _block(
    token: Token, message: str, *, try_this: str = "", **evidence: str | int | float
) -> Reason:
    """Return a reason that waiting alone does not cure."""
    return Reason(
        token=token,
        severity=Severity.BLOCK,
        message=message,
        evidence=evidence,
        waiting_helps=False,
        try_this=try_this,
    )


def law(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude what the law room forbids; its reason, with the rule cited, is passed on as it is."""
    return ask.forbidden.get(pool.pool) if ask.forbidden else None


def owner_policy(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude islands whose owner does not take this work."""
    policy, spec = pool.policy, ask.spec
    if policy.tenants and ask.tenant not in policy.tenants:
        return _block(
            Token.OWNER_POLICY, f"The owner of {pool.name} does not take work of {ask.tenant}."
        )
    if policy.kinds and spec.kind.value not in policy.kinds:
        return _block(
            Token.OWNER_POLICY,
            f"The owner of {pool.name} does not take {spec.kind.value} jobs.",
            kinds=", ".join(policy.kinds),
        )
    if spec.secrets and not policy.allow_secrets:
        return _block(
            Token.OWNER_POLICY, f"The owner of {pool.name} does not take jobs that carry secrets."
        )
    if spec.islands > 1 and not policy.allow_secrets:
        return _block(
            Token.OWNER_POLICY,
            f"The owner of {pool.name} does not take jobs that carry secrets, and a job over "
            "several islands carries a token for the place where its members meet.",
        )
    if spec.priority < policy.priority_min:
        return _block(
            Token.OWNER_POLICY,
            f"The owner of {pool.name} takes priority {policy.priority_min} and above.",
            priority=spec.priority,
            priority_min=policy.priority_min,
        )
    return _run_length(ask, pool) if policy.max_run_s else None


def _run_length(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude runs that may outlast what the owner takes; a run without a bound may."""
    most_s, spec = pool.policy.max_run_s, ask.spec
    bound_s = spec.time_limit_s or spec.expected_run_s
    if spec.kind is not JobKind.SERVICE and 0 < bound_s <= most_s:
        return None
    return _block(
        Token.OWNER_POLICY,
        f"The owner of {pool.name} takes runs of at most {duration(most_s)}.",
        try_this=f"set `time_limit` to at most {most_s:g}s",
        max_run_s=most_s,
        bound_s=bound_s,
    )


def usable_devices(ask: Ask, pool: PoolView) -> int:
    """Count the healthy accelerators of a pool that match the request; 0 without a request."""
    request = ask.spec.resources.accelerator
    if request is None:
        return 0
    if not pool.devices:
        anything_goes = not request.model and not request.memory_bytes_min
        return pool.capacity.accelerators if anything_goes else 0
    model = request.model.casefold()
    return sum(
        d.healthy
        and (not model or d.model.casefold() == model)
        and d.memory_bytes >= request.memory_bytes_min
        for d in pool.devices
    )


def accelerator(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude pools without enough healthy accelerators of the model and memory asked for."""
    request = ask.spec.resources.accelerator
    if request is None:
        return None
    found, needed = usable_devices(ask, pool), request.count * ask.nodes
    if found >= needed:
        return None
    wanted = request.model or "accelerator"
    memory = f" with {gib(request.memory_bytes_min)}" if request.memory_bytes_min else ""
    here = sorted({d.model for d in pool.devices})
    return _block(
        Token.ACCELERATOR,
        f"{pool.name} has {found} of the {needed} {wanted}{memory} that it needs"
        + (f" (it has {', '.join(here)})." if here else "."),
        needed=needed,
        found=found,
        model=request.model,
        memory_bytes_min=request.memory_bytes_min,
    )


def too_small(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude pools that could not hold the job even when empty."""
    need = ask.spec.resources
    if pool.node is not None and not pool.node.fits(need):
        return _block(
            Token.TOO_SMALL,
            f"Each of its nodes needs {amount(need, 1)}; the largest node of {pool.name} has "
            f"{held(pool.node, need)}.",
            try_this="ask for less on each node, and for more nodes",
            needed_cpu_milli=need.cpu_milli,
            node_cpu_milli=pool.node.cpu_milli,
            needed_memory_bytes=need.memory_bytes,
            node_memory_bytes=pool.node.memory_bytes,
        )
    if pool.capacity.fits(need, ask.nodes):
        return None
    return _block(
        Token.TOO_SMALL,
        f"It needs {amount(need, ask.nodes)}; {pool.name} has {held(pool.capacity, need)} in all.",
        try_this="ask for less, or for fewer nodes",
        needed_cpu_milli=need.cpu_milli * ask.nodes,
        capacity_cpu_milli=pool.capacity.cpu_milli,
        needed_memory_bytes=need.memory_bytes * ask.nodes,
        capacity_memory_bytes=pool.capacity.memory_bytes,
        needed_disk_bytes=need.disk_bytes * ask.nodes,
        capacity_disk_bytes=pool.capacity.disk_bytes,
    )


def sibling(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude islands where another member of the same job over several islands is."""
    if pool.island not in ask.siblings:
        return None
    return _for_now(
        Token.SIBLING,
        f"Another member of its group is on {pool.name}; each has an island of its own.",
        islands=ask.spec.islands,
    )


def isolation(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude islands that cannot isolate a job as strongly as it asks."""
    asked = ask.spec.isolation
    if not asked or asked in pool.isolation:
        return None
    if asked in ISOLATION_LEVELS:
        enough = ISOLATION_LEVELS[ISOLATION_LEVELS.index(asked) :]
        if any(level in enough for level in pool.isolation):
            return None
    return _block(
        Token.ISOLATION,
        f"{pool.name} offers isolation {', '.join(pool.isolation) or 'none'}; it asks for {asked}.",
        asked=asked,
        offered=", ".join(pool.isolation),
    )


def image(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude islands without container images when the job names one."""
    if not ask.spec.image or pool.images:
        return None
    return _block(Token.IMAGE, f"{pool.name} cannot run container images.", image=ask.spec.image)


def rental(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude islands that cannot hand over what is to be rented."""
    asked = ask.spec.rental
    if asked is None or asked.product.value in pool.rents:
        return None
    return _block(
        Token.RENTAL,
        f"{pool.name} hands over {', '.join(pool.rents) or 'nothing'}; it asks for "
        f"{asked.product.value}.",
        asked=asked.product.value,
        offered=", ".join(pool.rents),
    )


def spot(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude interruptible capacity when the job refuses it."""
    if ask.spec.spot or pool.purchase is not Purchase.SPOT:
        return None
    return _block(
        Token.SPOT_REFUSED,
        f"{pool.name} sells interruptible (spot) capacity, which the job refuses.",
        try_this="set spot: true",
        interruptions_per_day=pool.interruptions_per_day,
    )


def price_cap(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude offers above the job's cap per device-hour, or in a currency without a rate."""
    rate = ask.usd_per_unit.get(pool.price.currency)
    if rate is None:
        return _block(
            Token.PRICE_CAP,
            f"The price of {pool.name} is in {pool.price.currency}, which has no exchange rate.",
            currency=pool.price.currency,
        )
    cap = ask.spec.price_cap_per_device_h
    if cap is None:
        return None
    price = float(pool.price.amount_per_device_h) * rate
    if price <= float(cap):
        return None
    return _block(
        Token.PRICE_CAP,
        f"{pool.name} costs {usd(price)} per device-hour; the cap is {usd(float(cap))}.",
        try_this=f"raise the price cap to {price:.6g}",
        price_usd_per_device_h=price,
        cap_usd_per_device_h=float(cap),
    )


def where(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude offers that the job's own expression does not match."""
    text = ask.spec.where
    if not text:
        return None
    try:
        if ask.matches(text, pool):
            return None
    except InvalidInput as error:
        # One job with a broken expression must not stop the round; it waits with the error shown.
        return _block(
            Token.CONSTRAINT,
            f"`where: {text}` cannot be evaluated: {error.message}",
            try_this=error.hint or "correct the `where` expression",
            where=text,
        )
    return _block(Token.CONSTRAINT, f"{pool.name} does not satisfy `where: {text}`.", where=text)


def deadline(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude offers where the job would end too late; an assumed run time excludes nothing."""
    deadline_ms = ask.spec.deadline_ms
    if not deadline_ms:
        return None
    left_s = (deadline_ms - ask.now_ms) / 1000
    run_s = 0.0 if ask.run_assumed else ask.run_s / max(pool.speed, 1e-6)
    if left_s > 0 and run_s <= left_s:
        return None
    message = (
        f"Its deadline has passed {duration(-left_s)} ago."
        if left_s <= 0
        else f"It would take {duration(run_s)} on {pool.name}; {duration(left_s)} are left."
    )
    return _block(Token.DEADLINE, message, try_this="move the deadline", left_s=left_s, run_s=run_s)


def expected_cost_micros(ask: Ask, pool: PoolView) -> int:
    """Return the price of the expected run on this offer, in micro-dollars, rounded up."""
    rate = ask.usd_per_unit.get(pool.price.currency, 1.0)
    hours = ask.run_s / max(pool.speed, 1e-6) / 3600
    kwh = ask.devices * hours * pool.power_w(ask.spec.resources) / 1000 * pool.pue
    units = (
        float(pool.price.amount_per_device_h) * ask.devices * hours
        + float(pool.price.per_kwh) * kwh
    )
    return -int(-units * rate * 1_000_000 // 1)


def budget(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude offers where the expected run costs more than is left of the budgets."""
    left = ask.budget_left_micros
    if left is None:
        return None
    cost = expected_cost_micros(ask, pool)
    return None if cost <= left else over_budget(ask, pool, left)


def over_budget(ask: Ask, pool: PoolView, left_micros: int) -> Reason:
    """Return the reason for a run that costs more than what is left."""
    cost = expected_cost_micros(ask, pool)
    assumed = " (run time assumed)" if ask.run_assumed else ""
    return _block(
        Token.BUDGET,
        f"The run would cost about {usd(cost / 1e6)} on {pool.name}{assumed}; "
        f"{usd(left_micros / 1e6)} of the budget is left.",
        try_this="raise the budget" + (", or state expected_run" if ask.run_assumed else ""),
        cost_micros=cost,
        left_micros=left_micros,
        run_assumed=ask.run_assumed,
    )


def _for_now(token: Token, message: str, **evidence: str | int | float) -> Reason:
    """Return a reason that can pass by itself."""
    return Reason(token=token, severity=Severity.WAIT, message=message, evidence=evidence)


def cordoned(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude pools that an operator or the owner keeps new work away from."""
    if not pool.cordoned:
        return None
    return _for_now(Token.CORDONED, f"{pool.name} is cordoned: it takes no new work for now.")


def unhealthy(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude pools that are marked unhealthy."""
    if pool.healthy:
        return None
    return _for_now(Token.UNHEALTHY, f"{pool.name} is marked unhealthy.")


def stale(ask: Ask, pool: PoolView) -> Reason | None:
    """Exclude pools that have not been heard from; their figures are not used."""
    if pool.fresh:
        return None
    return _for_now(
        Token.STALE,
        f"{pool.name} was last heard from {duration(pool.age_ms / 1000)} ago.",
        age_ms=pool.age_ms,
    )


FILTERS: tuple[Filter, ...] = (
    law,
    owner_policy,
    accelerator,
    too_small,
    isolation,
    image,
    rental,
    spot,
    price_cap,
    where,
    deadline,
    budget,
    sibling,
    cordoned,
    unhealthy,
    stale,
)
"""Those that waiting does not cure first."""


def relevant(ask: Ask) -> tuple[Filter, ...]:
    """Return the filters that can exclude anything for this ask, in order.

    A whole fleet is filtered per shape, and most jobs leave most demands open.
    """
    spec = ask.spec
    idle: dict[Filter, bool] = {
        law: not ask.forbidden,
        accelerator: spec.resources.accelerator is None,
        isolation: not spec.isolation,
        image: not spec.image,
        rental: spec.rental is None,
        spot: spec.spot,
        where: not spec.where,
        deadline: not spec.deadline_ms,
        budget: ask.budget_left_micros is None,
        sibling: not ask.siblings,
    }
    return tuple(check for check in FILTERS if not idle.get(check, False))


def first_reason(ask: Ask, pool: PoolView, checks: tuple[Filter, ...] = FILTERS) -> Reason | None:
    """Return the most severe reason against this offer, or None when it may and could hold it."""
    for check in checks:
        reason = check(ask, pool)
        if reason is not None:
            return reason
    return None


def all_reasons(ask: Ask, pool: PoolView) -> tuple[Reason, ...]:
    """Return every reason against this offer, most severe first."""
    found = (check(ask, pool) for check in FILTERS)
    return tuple(reason for reason in found if reason is not None)
