"""`python -m causeway.twin.forecasting`: one forecast in a process of its own.

Reads `{"snapshot", "job", "seed", "samples"}` as JSON from standard input and writes a `Forecast`
as JSON to standard output. `Forecaster` is the caller's side: one forecast at a time, bounded in
time, and nothing is left behind when the caller dies, since the process ends with its input.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import msgspec

from causeway.model.errors import CausewayError, NotFound, Unavailable
from causeway.model.fleet import Snapshot
from causeway.twin.forecast import Forecast, forecast

SAMPLES = 24
SAMPLES_LONG_QUEUE = 4
LONG_QUEUE = 1_000
"""Waiting jobs above which fewer samples are drawn."""
TIME_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the process."""

    snapshot: Snapshot
    job: str
    seed: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What it says: a forecast, or why there is none."""

    forecast: Forecast | None = None
    problem: str = ""


class Forecaster:
    """Asks a fresh process for each forecast."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Semaphore(1)

    async def __call__(self, snapshot: Snapshot, job: str) -> Forecast:
        """Return the forecast; `NotFound` when the job does not wait, `Unavailable` when it takes
        too long."""
        samples = SAMPLES if len(snapshot.waiting) < LONG_QUEUE else SAMPLES_LONG_QUEUE
        question = Question(snapshot=snapshot, job=job, seed=snapshot.now_ms, samples=samples)
        async with self._one_at_a_time:
            text = await self._asked(msgspec.json.encode(question))
        answer = msgspec.json.decode(text, type=Answer)
        if answer.forecast is None:
            raise NotFound(answer.problem, hint="causeway status JOB")
        return answer.forecast

    async def _asked(self, question: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            text, _ = await asyncio.wait_for(process.communicate(question), TIME_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise Unavailable(
                f"the forecast took longer than {TIME_LIMIT_S:g} s",
                hint="causeway explain JOB says what it waits for",
            ) from None
        if process.returncode != 0:
            raise Unavailable(f"the forecast process ended with {process.returncode}")
        return text


def main() -> int:
    """Answer one question."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    try:
        found = forecast(
            question.snapshot, question.job, seed=question.seed, samples=question.samples
        )
        answer = Answer(forecast=found)
    except CausewayError as error:
        answer = Answer(problem=error.message)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
