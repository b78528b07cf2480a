"""Commands that run something here: up, join, backup, restore. Thin: wiring and the store do it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from causeway.cli import diary, exits, talk
from causeway.cli.figures import size
from causeway.model.errors import InvalidInput, NotFound
from causeway.sdk.settings import state_path

Flag = Annotated[bool, Parameter(negative="")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcFlags:
    """How people log in through an identity provider (OpenID Connect).

    Parameters
    ----------
    oidc_issuer
        Its address, exactly as it writes it, e.g. https://accounts.example.org. Unset: people log
        in with tokens only.
    oidc_client_id
        Name under which this control plane is registered there; the redirect address to register
        is <address of this server>/login/oidc/callback.
    oidc_client_secret_file
        File that holds the client's secret; none for a public client.
    oidc_rules
        TOML file of [[rule]] tables: claim, equals or ends_with, tenant, role. The first that
        matches wins; who meets none stays outside.
    oidc_public_url
        Address of this server as browsers see it, when a proxy stands before it.
    """

    oidc_issuer: Annotated[str, Parameter(env_var="CAUSEWAY_OIDC_ISSUER")] = ""
    oidc_client_id: Annotated[str, Parameter(env_var="CAUSEWAY_OIDC_CLIENT_ID")] = ""
    oidc_client_secret_file: Annotated[
        Path | None, Parameter(env_var="CAUSEWAY_OIDC_CLIENT_SECRET_FILE")
    ] = None
    oidc_rules: Annotated[Path | None, Parameter(env_var="CAUSEWAY_OIDC_RULES")] = None
    oidc_public_url: Annotated[str, Parameter(env_var="CAUSEWAY_OIDC_PUBLIC_URL")] = ""


NO_OIDC = OidcFlags()


def up(
    *,
    state: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7800,
    store: str | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    insecure: Flag = False,
    oidc: Annotated[OidcFlags, Parameter(name="*")] = NO_OIDC,
) -> int:
    """Start a control plane and its dashboard, and stay until Ctrl-C.

    Parameters
    ----------
    state
        Folder for store, content and logs; ~/.local/share/causeway unless given.
    host
        Address to listen on.
    port
        Port to listen on.
    store
        Database URL, e.g. postgresql://...; SQLite in the state folder unless given.
    cert
        TLS certificate (PEM). Needed beyond this machine.
    key
        Its private key (PEM).
    insecure
        Listen beyond this machine without TLS (behind a proxy that ends it).
    oidc
        How people log in through an identity provider.
    """
    from causeway.cli.identity import oidc_settings
    from causeway.cli.serving import serve

    provider = oidc_settings(oidc)

    place = state or state_path(os.environ)

    def ready() -> None:
        talk.say(f"Control plane: {'https' if cert else 'http'}://{host}:{port}  (Ctrl-C stops it)")
        talk.say(f"State:         {place}")
        talk.say(f"Your token:    {place / 'operator.token'}")

    return int(
        serve(
            state=place,
            host=host,
            port=port,
            store=store,
            cert=cert,
            key=key,
            insecure=insecure,
            oidc=provider,
            ready=ready,
        )
    )


def join(
    url: str,
    /,
    *,
    profile: Path,
    token: str | None = None,
    root: Path = Path("island"),
    visible: list[Path] | None = None,
) -> int:
    """Let this machine join as an island; outbound connections only.

    Parameters
    ----------
    url
        Address of the control plane.
    profile
        TOML file: name, provider, jurisdiction, price, ...
    token
        Join token (or CAUSEWAY_JOIN_TOKEN), needed the first time only. Make one with
        `causeway tokens create --join`.
    root
        Folder for the island's key, journal and attempts.
    visible
        Folder that sandboxed jobs may read besides the system's own (datasets, software), as often
        as needed.
    """
    from causeway import wiring

    given = token or os.environ.get("CAUSEWAY_JOIN_TOKEN")
    authority = os.environ.get("CAUSEWAY_CA")
    if authority:
        if not Path(authority).is_file():
            raise InvalidInput(f"there is no file {authority}", where="CAUSEWAY_CA")
        # Every connection of the agent is then made with it: it is what Python's TLS itself asks.
        os.environ["SSL_CERT_FILE"] = authority
    shown = visible or []
    for path in shown:
        if not path.is_dir():
            raise InvalidInput(
                f"{path} is not a folder", where="--visible", hint="name a folder that exists here"
            )
    talk.say(f"Joining {url} from {root}  (Ctrl-C leaves)")
    diary.begin()
    return wiring.join(url, token=given, root=root, profile=profile, visible=shown)


def _database(state: Path | None) -> Path:
    return (state or state_path(os.environ)) / "causeway.sqlite3"


def _sqlite(state: Path | None) -> str:
    return f"sqlite:///{_database(state).absolute()}"


def backup(to: Path, /, *, state: Path | None = None, store: str | None = None) -> int:
    """Copy the store of a control plane, which may be running, to a new file.

    Parameters
    ----------
    to
        File to write; it must not exist.
    state
        The control plane's state folder.
    store
        Its database URL, unless it is the SQLite file in the state folder.
    """
    from causeway.adapters.store import copies, open_store

    if store is None and not _database(state).is_file():
        raise NotFound(f"there is no store at {_database(state)}", hint="give --state or --store")
    opened = open_store(store or _sqlite(state))
    try:
        copied = copies.backup(opened, to)
    finally:
        opened.close()
    talk.say(
        f"{to}: {size(copied.bytes)}. Copy content/, logs/ and secret.key of the state folder too."
    )
    return exits.OK


def restore(source: Path, /, *, state: Path | None = None, store: str | None = None) -> int:
    """Fill an empty store from a backup.

    Parameters
    ----------
    source
        File that `causeway backup` wrote.
    state
        State folder to restore into.
    store
        Database URL to restore into, unless it is the SQLite file in the state folder.
    """
    from causeway.adapters.store import copies

    if store is None:
        _database(state).parent.mkdir(parents=True, exist_ok=True)
    copied = copies.restore(source, store or _sqlite(state))
    talk.say(f"Restored {size(copied.bytes)} from {source}.")
    return exits.OK
