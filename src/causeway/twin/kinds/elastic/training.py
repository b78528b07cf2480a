"""One training job under the virtual clock: what it does with what it holds.

Each epoch has its own gradient noise, and at each end of one the job chooses its batch anew, by
what it has learnt of its own speed so far. What it truly does comes from the measured profiles;
what the scheduler is told (`speeds`) comes from the learnt curve. They are not the same.

A change of shape costs `restart_s` during which the devices are held and nothing is learnt. Time
inside an epoch is exact; nothing is rounded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from causeway.schedule.elastic.curve import Curve, Floats, Measured, fit, step_s
from causeway.schedule.elastic.goodput import Batch, Noise, best, cut, gain
from causeway.schedule.elastic.pack import Shape, devices_of, tight_nodes
from causeway.twin.kinds.elastic.profiles import Application

REFIT_SHARE = 0.02
"""A step that the curve foretold this well teaches it nothing new."""


class Learnt:
    """What was timed of a program, and the curve through it."""

    def __init__(self) -> None:
        self.curve: Curve | None = None
        self.noise_first: Noise | None = None
        """In the first epoch of the first job of it."""
        self.devices_most = 0
        self._seen: dict[tuple[int, int, int], tuple[float, float]] = {}

    def see(self, nodes: int, devices: int, *, samples: int, timed: tuple[float, float]) -> None:
        """Take in one timed step (its seconds, and those of a pass), once for each shape."""
        key = (nodes, devices, samples)
        if key in self._seen:
            return
        self._seen[key] = timed
        self.devices_most = max(self.devices_most, devices)
        if self.curve is None or not self._foretold(key, timed):
            self.curve = fit(self._measured(), self.curve)

    def _foretold(self, key: tuple[int, int, int], timed: tuple[float, float]) -> bool:
        assert self.curve is not None
        nodes, devices, samples = (np.array(float(value)) for value in key)
        step = float(step_s(self.curve, nodes=nodes, devices=devices, samples=samples))
        passed = self.curve.compute_s + self.curve.compute_s_per_sample * key[2]
        new = all(key[:2] != other[:2] for other in self._seen if other != key)
        close = abs(step - timed[0]) <= REFIT_SHARE * timed[0]
        return close and not new and abs(passed - timed[1]) <= REFIT_SHARE * timed[1]

    def _measured(self) -> Measured:
        keys = np.array(list(self._seen), dtype=float)
        values = np.array(list(self._seen.values()))
        return Measured(
            nodes=keys[:, 0],
            devices=keys[:, 1],
            samples=keys[:, 2],
            compute_s=values[:, 1],
            step_s=values[:, 0],
        )


class Job:
    """A job of the workload; mutable, moved on by `advance`."""

    def __init__(
        self,
        name: str,
        application: Application,
        *,
        submitted_s: float,
        devices_asked: int,
        batch: int | None,
        learnt: Learnt | None = None,
    ) -> None:
        self.name = name
        self.application = application
        self.submitted_s = submitted_s
        self.devices_asked = devices_asked
        self.batch_asked = batch
        """Fixed by its author; None where the job may choose."""
        self.limits = replace(application.limits, batch_fixed=batch)
        self.learnt = learnt or Learnt()
        self._noise: Noise | None = None
        self.held: Shape = ()
        self.batch = Batch(samples=0, passes=1)
        self.epoch = 0
        self.work_done = 0.0
        self.restart_left_s = 0.0
        self.restarts = -1
        self.service_device_s = 0.0
        self.started_s: float | None = None
        self.ended_s: float | None = None

    def reshape(self, shape: Shape, *, restart_s: float, now_s: float) -> None:
        """Stop, and go on in another shape; an empty one means waiting."""
        if shape == self.held:
            return
        self.held = shape
        if not shape:
            return
        if self.started_s is None:
            self.started_s = now_s
        self.restarts += 1
        self.restart_left_s = restart_s
        self._choose()

    def advance(self, now_s: float, seconds: float) -> None:
        """Go on for `seconds` from `now_s` with what is held."""
        if not self.held:
            return
        devices = devices_of(self.held)
        placement = tuple(count for _, count in self.held)
        pause = min(self.restart_left_s, seconds)
        self.restart_left_s -= pause
        left = seconds - pause
        while left > 0.0 and self.ended_s is None:
            rate = self._rate(placement, devices)
            goal = self.application.progress[self.epoch]
            if self.work_done + rate * left < goal:
                self.work_done += rate * left
                left = 0.0
            else:
                left = max(left - max(goal - self.work_done, 0.0) / rate, 0.0)
                self.work_done = goal
                self.epoch += 1
                if self.epoch == self.application.epochs:
                    self.ended_s = now_s + seconds - left
            self._choose()
        self.service_device_s += (seconds - left) * devices

    def _rate(self, placement: tuple[int, ...], devices: int) -> float:
        """Return the true progress per second, and learn from having seen it."""
        size = self.batch.size(devices)
        stepped_s, exchange_s = self.application.times(placement, self.batch.samples)
        passed_s = stepped_s - exchange_s
        self._noise = noise = self.application.noise(size, self.epoch)
        if self.learnt.noise_first is None:
            self.learnt.noise_first = noise
        self.learnt.see(
            len(placement), devices, samples=self.batch.samples, timed=(stepped_s, passed_s)
        )
        worth = gain(noise, size / self.application.limits.batch_first)
        return worth / (stepped_s + passed_s * (self.batch.passes - 1))

    def _choose(self) -> None:
        """Choose the batch for the shape that is held."""
        devices, limits = devices_of(self.held), self.limits
        if self.batch_asked is not None:
            self.batch = cut(self.batch_asked, devices, limits)
        elif self.learnt.curve is None or self.noise is None:
            first = max(limits.batch_first, limits.samples_least * devices)
            self.batch = cut(first, devices, limits)
        else:
            _, samples, passes = best(
                self.learnt.curve,
                self.noise,
                limits=limits,
                nodes=(len(self.held),),
                devices=(devices,),
            )
            cap = limits.batch_most // (devices * int(passes[0]))
            self.batch = Batch(samples=min(int(samples[0]), cap), passes=int(passes[0]))

    @property
    def noise(self) -> Noise | None:
        """What is known of its gradients: its own last epoch, or another job's first."""
        return self._noise or self.learnt.noise_first

    @property
    def known(self) -> bool:
        """Whether anything was measured of its speed and of its gradients."""
        return self.learnt.curve is not None and self.noise is not None

    def speeds(self, devices_most: int, per_node: int) -> Floats:
        """Return the goodput that the curve foretells on 0, 1, ... devices, tightly placed."""
        if self.learnt.curve is None or self.noise is None:
            return np.arange(devices_most + 1, dtype=float)
        counts = tuple(range(1, devices_most + 1))
        nodes = tuple(tight_nodes(count, per_node) for count in counts)
        rate, _, _ = best(
            self.learnt.curve, self.noise, limits=self.limits, nodes=nodes, devices=counts
        )
        return np.concatenate([[0.0], rate])

    def speed_in_one_node(self, devices: int) -> float:
        """Return the goodput foretold on so many devices, had they been in one node."""
        if self.learnt.curve is None or self.noise is None:
            return float(devices)
        count = min(devices, self.limits.devices_most)
        rate, _, _ = best(
            self.learnt.curve, self.noise, limits=self.limits, nodes=(1,), devices=(count,)
        )
        return float(rate[0])
