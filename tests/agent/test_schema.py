"""The published schema is the one of the code, and real messages satisfy it."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest
from pretend_island import Island, start

from causeway.agent.schema import MESSAGES, schema_text
from causeway.model.protocol import SyncReply

DOCS = Path(__file__).parents[2] / "docs"


def test_the_published_schema_is_fresh() -> None:
    assert (DOCS / "agent-protocol.schema.json").read_text() == schema_text(), (
        "run: python -m causeway.agent.schema > docs/agent-protocol.schema.json"
    )


def test_every_message_is_described_in_words_too() -> None:
    text = (DOCS / "agent-protocol.md").read_text()
    for message in MESSAGES:
        assert message.__name__ in text
        for field in message.__dataclass_fields__:
            assert f"`{field}`" in text, f"{message.__name__}.{field} is not described"


def test_real_messages_satisfy_the_schema() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    reply = SyncReply(seq=1, version="1", lease_ms=1, start=(start(),))
    for name, value in (
        ("SyncRequest", island.core.sync_request(island.now_ms)),
        ("SyncReply", reply),
    ):
        whole = msgspec.json.decode(schema_text().encode())
        schema = {**whole, "$ref": f"#/$defs/{name}"}
        plain = msgspec.json.decode(msgspec.json.encode(value))
        jsonschema.validate(plain, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**plain, "seq": "one"}, schema)
