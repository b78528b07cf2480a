"""Values of an attempt: exit codes, the newest whole checkpoint, isolation, what is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.adapters.local import sandbox
from causeway.adapters.local.attempt import exit_code, killed_by, newest_checkpoint
from causeway.adapters.local.cgroups import ControlGroups
from causeway.adapters.local.fork_server import pack, unpack
from causeway.adapters.local.host import Host

VIEW = sandbox.View(hidden=(), shown=(), hidden_again=())


@given(number=st.integers(min_value=1, max_value=64))
def test_signals_survive_the_convention(number: int) -> None:
    assert killed_by(exit_code(-number)) == number


@given(code=st.integers(min_value=0, max_value=128))
def test_plain_codes_are_no_signals(code: int) -> None:
    assert exit_code(code) == code
    assert killed_by(code) == 0


def test_newest_checkpoint_is_the_highest_whole_step(tmp_path: Path) -> None:
    for name, marker in {
        "step-9": '{"step": 9}',
        "step-10": '{"step": 10}',
        "step-11": None,
        "step-12": "{torn",
        "step-13": "[]",
        "step-14": '{"step": "14"}',
        "step-15": '{"step": -1}',
    }.items():
        (tmp_path / name).mkdir()
        if marker is not None:
            (tmp_path / name / "COMPLETE").write_text(marker)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-10"


def test_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("groups", "bwrap", "least", "level"),
    [
        (True, "/b", "", "sandbox"),
        (True, "", "", "limits"),
        (False, "", "", "process"),
        (False, "/b", "", "sandbox"),
        (True, "/b", "process", "sandbox"),
        (True, "", "sandbox", ""),
        (False, "/b", "limits", ""),
        (True, "", "unheard-of", ""),
    ],
)
def test_the_strongest_level_that_works(groups: bool, bwrap: str, least: str, level: str) -> None:
    made = ControlGroups({}, version=1) if groups else None
    host = Host(groups=made, bwrap=bwrap, view=VIEW, bash="/bin/bash")
    assert host.level(least) == level


def test_a_view_hides_the_root_even_below_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "clone" / "venv"
    state = place / "state"
    state.mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(place))
    view = sandbox.view(state, ())
    kinds = [kind for kind, path in view.binds(state / "a") if path in (place, state)]
    assert kinds[-2:] == ["show", "hide"]
    assert view.binds(state / "a")[-2:] == [("own", state / "a"), ("show", state / "a" / "logs")]


@given(st.lists(st.dictionaries(st.text(), st.text()), max_size=5), st.integers(1, 7))
def test_messages_survive_any_cut(messages: list[dict[str, str]], size: int) -> None:
    wire = b"".join(pack(message) for message in messages)
    buffer, heard = bytearray(), []
    for start in range(0, len(wire), size):
        buffer += wire[start : start + size]
        heard.extend(unpack(buffer))
    assert heard == messages
    assert not buffer
