"""The island's Python inside an image that has none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.adapters.local.conftest import Bench
from tests.adapters.local.test_images import IMAGE, archive, bench

from causeway.adapters.local import interpreter
from causeway.model.protocol import Phase

__all__ = ["archive", "bench"]

PROGRAM = """\
import ssl, hashlib, ctypes, json, zlib, bz2, lzma
print(json.dumps([ssl.create_default_context(cafile="/causeway-island/authorities.pem") is None]))
try:
    open("/causeway-island/lib/x", "w")
except OSError as error:
    print(type(error).__name__, error.strerror)
"""


def test_outside_of_images_it_is_the_interpreter_itself() -> None:
    assert interpreter.words(image=False) == sys.executable


def test_everything_shown_is_below_one_place_and_read_only() -> None:
    line = interpreter.shown()
    assert line[:2] == ("--tmpfs", interpreter.PLACE)
    assert line[-2:] == ("--remount-ro", interpreter.PLACE)
    binds = [line[i : i + 3] for i in range(2, len(line) - 2, 3)]
    assert {kind for kind, _, _ in binds} == {"--ro-bind"}
    assert all(Path(source).exists() for _, source, _ in binds)
    assert all(place.startswith(f"{interpreter.PLACE}/") for _, _, place in binds)


@pytest.mark.engines
def test_an_image_without_python_runs_a_python_program(bench: Bench, archive: Path) -> None:
    script = f"$CAUSEWAY_PYTHON -I -S -c '{PROGRAM}'; echo $CAUSEWAY_IMAGE_WORKDIR"
    key = bench.start(script, image=IMAGE, copies={"images/tiny.tar": archive})
    ended = bench.end(key)
    assert ended.phase == Phase.SUCCEEDED, bench.logs(key)
    assert bench.log(key, "rank-0.stdout") == "[false]\nOSError Read-only file system\n/\n"
