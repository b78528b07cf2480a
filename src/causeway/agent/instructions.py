"""What the core may ask its shell to do, as values.

A shell carries a list out in order. `WriteJournal` comes first in a list that has one: it must be
durable before the next `Launch` is carried out and before the next sync is sent; a shell may put
several together (`AgentCore.revision`). `Launch` is the
engine port's own value. Whatever takes time (`Stage`, `LastLook`, the uploads) is begun, and its
end comes back to the core as a stimulus.
"""

from __future__ import annotations

from dataclasses import dataclass

from causeway.model.jobs import FailureClass
from causeway.model.protocol import StartCommand
from causeway.ports.engine import Launch


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteJournal:
    """Make `AgentCore.journal()` durable before anything else happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Make the attempt's folder and fetch its workdir, inputs and resume checkpoint; answer with
    `on_staged`."""

    start: StartCommand
    """Without its secrets: staging has no use for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelStage:
    """Stop a staging that is under way. Its answer will be ignored."""

    job: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Ask the engine to end it; kill after the grace, 0 kills at once."""

    job: str
    fence: int
    grace_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """The attempt has ended: read its progress, checkpoints and logs to their end (`on_progress`,
    `on_checkpoint_found`), then answer with `on_looked`."""

    job: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCheckpoint:
    """Send the local checkpoint of that step to the centre; answer with `on_checkpoint`."""

    job: str
    fence: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOutputs:
    """Send these paths below the working folder to the centre; answer with `on_outputs`."""

    job: str
    fence: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wipe:
    """Remove everything that a rental's attempt left here, and look whether it is gone; answer with
    `on_wiped`. Its processes have ended, and its logs are told."""

    job: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The lease is good until this instant; for an engine whose attempts outlive the agent."""

    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """The centre released it: kill what is left, drop the engine's record and the folder."""

    job: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something that the shell was asked for did not work."""

    message: str
    failure: FailureClass = FailureClass.ENGINE
    retry: bool = True
    """Whether the same request may work later."""


Instruction = (
    WriteJournal
    | Stage
    | CancelStage
    | Launch
    | Stop
    | LastLook
    | UploadCheckpoint
    | UploadOutputs
    | Wipe
    | Grant
    | Forget
)
