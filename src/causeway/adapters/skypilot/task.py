"""One rental -> the task that SkyPilot is asked to launch. Pure.

Everything is pinned (region, instance type, way of buying), so SkyPilot has nothing left to choose.
The first line of `setup` arms the machine's own shutdown, before anything that could fail or hang;
`run` is the watchman of `lease`, and SkyPilot's autodown takes the machine away once that ends. The
join token goes as a secret: it works once, and is worth nothing after.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from causeway.burst import Rental
from causeway.model.money import Purchase

FOLDER = "causeway-lease"
"""Below the home of the machine's user; the parcel is put there."""
AUTODOWN_MIN = 5
"""SkyPilot takes a machine away so long after the watchman has ended."""
_SETUP = """\
set -eu
left=$(( ({armed_s} - $(date +%s)) / 60 ))
[ "$left" -ge 1 ] || left=1
{arm} || echo "causeway: this machine cannot be told when to end; its watchman is all there is"
cd "$HOME/{folder}"
export PATH="$HOME/.local/bin:$PATH"
command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
uv venv -q --clear --python 3.12 venv
uv pip install -q --python venv/bin/python ./causeway-*.whl
"""
_RUN = """\
set -eu
cd "$HOME/{folder}"
exec venv/bin/python -P -m causeway.adapters.skypilot.lease .
"""


def task(
    rental: Rental, *, token: str, disk_gib: int, poweroff: tuple[str, ...], grace_ms: int
) -> str:
    """Return the task as YAML (JSON is YAML)."""
    armed_s = (rental.until_ms + grace_ms // 2) // 1000
    arm = " ".join(
        '"$left"'.join(shlex.quote(part) for part in word.split("{minutes}")) for word in poweroff
    )
    made: dict[str, Any] = {
        "name": rental.name,
        "resources": resources(rental, disk_gib=disk_gib),
        "secrets": {"CAUSEWAY_JOIN_TOKEN": token},
        "file_mounts": {f"~/{FOLDER}": FOLDER},
        "file_mounts_mapping": {FOLDER: FOLDER},
        "setup": _SETUP.format(folder=FOLDER, armed_s=armed_s, arm=arm or "false"),
        "run": _RUN.format(folder=FOLDER),
    }
    return json.dumps(made)


def dag(rental: Rental, *, disk_gib: int) -> str:
    """Return what the optimiser is asked: the same resources, nothing to run."""
    asked = {"name": rental.name, "resources": resources(rental, disk_gib=disk_gib)}
    return json.dumps({"name": rental.name}) + "\n---\n" + json.dumps(asked) + "\n"


def resources(rental: Rental, *, disk_gib: int) -> Mapping[str, Any]:
    """Return what exactly is rented."""
    return {
        "infra": rental.offer.infra,
        "instance_type": rental.offer.instance_type,
        "use_spot": rental.offer.purchase is Purchase.SPOT,
        "disk_size": disk_gib,
        "autostop": {"idle_minutes": AUTODOWN_MIN, "down": True, "wait_for": "jobs"},
    }
