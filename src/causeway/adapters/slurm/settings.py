"""The table `[engine]` of a profile whose work Slurm runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from causeway.adapters.outside.devices import DeviceSettings
from causeway.model.errors import InvalidInput


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach the cluster, and under which name work is given to it."""

    commands: str = ""
    """Folder of sbatch and the others; empty: they are in PATH."""
    conf: str = ""
    """slurm.conf of the cluster; empty: where Slurm looks by itself."""
    rest_url: str = ""
    """Address of slurmrestd (`http://host:6820` or `unix:/path`); empty: the commands are used."""
    rest_user: str = ""
    rest_token_file: str = ""
    """File with a JSON web token, read anew for every question."""
    rest_version: str = ""
    """`v0.0.38`, ...; empty: the newest that both sides know."""
    partitions: tuple[str, ...] = ()
    """Where work may go; empty: the cluster's default partition."""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    options: tuple[str, ...] = ()
    """Further options of sbatch, as written on its command line."""
    python: str = "python3"
    """Python 3.6 or newer on the nodes."""
    devices: Mapping[str, DeviceSettings] = {}
    """GRES type -> what it is; types that are data-sheet names need no entry."""
    poll_s: float = 1.0
    """How often Slurm is asked about jobs while something waits there."""
    timeout_s: float = 30.0
    """How long Slurm may take to answer before it counts as silent."""
    wait_s_max: float = 0.0
    """After so long in Slurm's queue an attempt is withdrawn and goes elsewhere; 0: never."""


def parse(plain: Mapping[str, Any]) -> Settings:
    """Return the settings, or raise `InvalidInput` that names the place."""
    known = Settings.__struct_fields__
    for name in plain:
        if name not in known:
            raise InvalidInput(
                f"unknown field {name!r}",
                where=f"$.engine.{name}",
                hint=f"one of: {', '.join(sorted(known))}",
            )
    try:
        settings = msgspec.convert(dict(plain), Settings)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error), where="$.engine") from None
    if not 0.1 <= settings.poll_s <= 600:
        raise InvalidInput("a time between 0.1 and 600 s", where="$.engine.poll_s")
    if not 1 <= settings.timeout_s <= 600:
        raise InvalidInput("a time between 1 and 600 s", where="$.engine.timeout_s")
    if settings.rest_url and settings.options:
        raise InvalidInput(
            "options of sbatch have no meaning for slurmrestd",
            where="$.engine.options",
            hint="use account, qos, reservation and constraint",
        )
    for option in settings.options:
        if not option.startswith("-"):
            raise InvalidInput(f"{option!r} is no option of sbatch", where="$.engine.options")
    return settings
