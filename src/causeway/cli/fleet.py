"""Commands about places, money and content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from causeway.cli import exits, sheets, talk
from causeway.cli.figures import instant, local_id, size
from causeway.cli.options import Json, Limit, Named, Yes
from causeway.sdk.client import Client


def islands(*, json: Json = False) -> int:
    """List the islands that joined."""
    with Client.from_settings() as client:
        talk.show(client.islands(), sheets.islands, as_json=json)
    return exits.OK


def latency(island: str = "", /, *, json: Json = False) -> int:
    """Show how far islands are from one another, on which path it was measured, and when.

    Parameters
    ----------
    island
        Only the links of this island.
    """
    with Client.from_settings() as client:
        talk.show(client.latency(island), sheets.latency, as_json=json)
    return exits.OK


def describe(urn: str, /, *, digest: str = "", json: Json = False) -> int:
    """Show what an identifier stands for, with the digest to cite it by.

    Parameters
    ----------
    urn
        Identifier of an island, site, provider, pool, node, device, offer, price, job, model,
        dataset or artefact: urn:cpi:<issuer>:<class>:<id>.
    digest
        Fail unless the descriptor still has this digest.
    """
    with Client.from_settings() as client:
        talk.show(client.describe(urn, digest=digest), sheets.descriptor, as_json=json)
    return exits.OK


def offers(*, where: str = "", sort: str = "", limit: Limit = 50, json: Json = False) -> int:
    """Search live offers.

    Parameters
    ----------
    where
        Filter, e.g. "accelerator.memory_gib >= 80 and site.jurisdiction in EU".
    sort
        What is best: cheapest (the default), greenest, fastest, nearest, steadiest, or names of
        the filter language, e.g. -accelerator.memory_gib,price_usd_per_device_h.
    """
    from causeway.discover import compile_filter

    # A mistake in the filter is named here, before anything is sent.
    compile_filter(where, where="--where")
    with Client.from_settings() as client:
        found = client.offers(where, sort=sort, limit=limit)
    if found:
        talk.say(f"Best first by: {sort or 'cheapest'}")
    talk.show(found, sheets.offers, as_json=json)
    return exits.OK


def cordon(island: Named, /, *, json: Json = False) -> int:
    """Keep new work away from an island."""
    return _steer(island, "cordon", json=json)


def uncordon(island: Named, /, *, json: Json = False) -> int:
    """Let new work onto an island again."""
    return _steer(island, "uncordon", json=json)


def drain(island: Named, /, *, yes: Yes = False, json: Json = False) -> int:
    """Cordon an island and move its work away."""
    if not yes and not talk.ask(f"Stop the work on {island} and place it elsewhere?"):
        return exits.SAID_NO
    return _steer(island, "drain", json=json)


def lost(island: Named, /, *, yes: Yes = False, json: Json = False) -> int:
    """Declare a cut-off island lost: its work is fenced off and placed again."""
    if not yes and not talk.ask(f"Declare {island} lost? What still runs there will not count."):
        return exits.SAID_NO
    return _steer(island, "lost", json=json)


def expel(island: Named, /, *, yes: Yes = False, json: Json = False) -> int:
    """Revoke an island's key at once; its work stops itself and is placed elsewhere."""
    if not yes and not talk.ask(f"Revoke the key of {island}?"):
        return exits.SAID_NO
    return _steer(island, "expel", json=json)


def admit(island: Named, /, *, json: Json = False) -> int:
    """Accept the key of an expelled island again."""
    return _steer(island, "admit", json=json)


def _steer(island: str, action: str, *, json: bool) -> int:
    with Client.from_settings() as client:
        talk.show(client.steer(island, action), lambda one: sheets.islands([one]), as_json=json)
    return exits.OK


def bill(*, json: Json = False) -> int:
    """Show the project's bill: every posted line, and who gets what."""
    with Client.from_settings() as client:
        talk.show(client.bill(), sheets.bill, as_json=json)
    return exits.OK


def models(*, json: Json = False) -> int:
    """List the models in the library, newest first, with what they were made from."""
    with Client.from_settings() as client:
        talk.show(client.artifacts(kind="model"), _models, as_json=json)
    return exits.OK


def _models(rows: Sequence[Any]) -> Iterator[str]:
    if not rows:
        yield "No models. A job registers one with: model: {name: NAME}"
        return
    cells = [
        [
            str(one.get("name", "")),
            size(one.get("bytes")),
            instant(one.get("made_ms")),
            local_id(one.get("job")) or "-",
            str(one.get("id", "")),
        ]
        for one in rows
    ]
    yield from talk.table(["NAME", "SIZE", "MADE", "JOB", "ARTEFACT"], cells, right=[1])


def upload(path: str, /, *, name: str = "", kind: str = "dataset", json: Json = False) -> int:
    """Upload a folder or a file as an artefact; what is there already is not sent again.

    Parameters
    ----------
    path
        Folder or file, or what is at s3://, gs://, az:// or https://.
    name
        Name in the library, to be used in `inputs`.
    kind
        dataset, model, workdir or output.
    """
    with Client.from_settings() as client:
        made = client.upload(path, kind=kind, name=name)
    talk.show(made, lambda m: [str(m["id"])], as_json=json)
    talk.say(f"{size(made['bytes'])}, of which {size(made['moved_bytes'])} were sent.")
    return exits.OK


def download(artifact: str, folder: Path, /) -> int:
    """Fetch an artefact into a folder; every byte is checked.

    Parameters
    ----------
    artifact
        Identifier, or name in the library.
    folder
        Where to.
    """
    with Client.from_settings() as client:
        moved = client.download(artifact, folder)
    talk.say(f"{size(moved)} were fetched into {folder}.")
    return exits.OK
