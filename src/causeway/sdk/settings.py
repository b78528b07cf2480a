"""Which control plane to talk to, and as whom: environment first, then a file, then this machine.

    1. CAUSEWAY_URL, CAUSEWAY_TOKEN, CAUSEWAY_CA
    2. ~/.config/causeway/config.toml:  url = "..."  token = "..."  ca = "/path/ca.pem"
    3. a control plane that was started here with `causeway up`, and its operator's token

Values of 1 win one by one. A token from 3 is only ever sent to this machine.
"""

from __future__ import annotations

import os
import tomllib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from causeway.model.errors import InvalidInput

LOCAL_URL = "http://127.0.0.1:7800"
FIELDS = ("url", "token", "ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to call, and with what."""

    url: str = LOCAL_URL
    """Address; several of the same control plane with commas between them."""
    token: str = ""
    ca: str = ""
    """PEM file of the authority behind the control plane's certificate; empty: the system's."""


def config_path(env: Mapping[str, str]) -> Path:
    """Return the place of the configuration file."""
    root = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".config")
    return Path(root) / "causeway" / "config.toml"


def state_path(env: Mapping[str, str]) -> Path:
    """Return where `causeway up` keeps its state unless told otherwise."""
    root = env.get("XDG_DATA_HOME") or str(
        Path(env.get("HOME", "~")).expanduser() / ".local" / "share"
    )
    return Path(root) / "causeway"


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force."""
    env = os.environ if env is None else env
    kept = _file(config_path(env))
    found = {name: env.get(f"CAUSEWAY_{name.upper()}") or kept.get(name, "") for name in FIELDS}
    url = ",".join(one.strip().rstrip("/") for one in (found["url"] or LOCAL_URL).split(","))
    hosts = [_host(one) for one in url.split(",")]
    token = found["token"]
    if not token and all(host in ("127.0.0.1", "localhost", "::1") for host in hosts):
        local = state_path(env) / "operator.token"
        token = local.read_text().strip() if local.is_file() and os.access(local, os.R_OK) else ""
    return Settings(url=url, token=token, ca=found["ca"])


def _host(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            f"{url!r} is not an address", where="url", hint="e.g. https://causeway.example.org"
        )
    return parts.hostname


def save(settings: Settings, env: Mapping[str, str] | None = None) -> Path:
    """Write the configuration file, readable by its owner alone."""
    path = config_path(os.environ if env is None else env)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [f'{n} = "{_quoted(getattr(settings, n))}"' for n in FIELDS if getattr(settings, n)]
    replace_private(path, "\n".join(lines) + "\n")
    return path


def replace_private(path: Path, text: str) -> None:
    """Write a file whole, readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.rename(path)


def _quoted(text: str) -> str:
    if any(ord(c) < 32 for c in text):
        raise InvalidInput("a setting may not hold control characters")
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        read = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"the configuration cannot be read: {error}", where=str(path)) from None
    for name, value in read.items():
        if name not in FIELDS or not isinstance(value, str):
            raise InvalidInput(
                f"{name!r} is not a setting", where=str(path), hint=f"one of: {', '.join(FIELDS)}"
            )
    return {name: str(value) for name, value in read.items()}
