"""The protocol as JSON Schema, generated from the values that both ends really use.

    python -m causeway.agent.schema > docs/agent-protocol.schema.json

A test fails while the file is stale.
"""

from __future__ import annotations

import json
import sys

import msgspec

from causeway.model import protocol, sharing

MESSAGES = (
    protocol.JoinRequest,
    protocol.JoinReply,
    protocol.SessionRequest,
    protocol.SessionReply,
    protocol.SyncRequest,
    protocol.SyncReply,
    sharing.ContentReport,
    sharing.ContentReply,
    sharing.Sources,
)


def schema_text() -> str:
    """Return the schema of every message, as the file holds it."""
    _, definitions = msgspec.json.schema_components(MESSAGES, ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Causeway agent protocol, version {protocol.PROTOCOL}",
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
