"""What a probe prints, read; and the probe itself, on this machine."""

from __future__ import annotations

import subprocess
from importlib.resources import files

import pytest

from causeway.adapters.ssh import findings

WHOLE = """
Welcome to hosta!
causeway:system\tLinux
causeway:architecture\tx86_64
causeway:user\tann
causeway:uid\t1000
causeway:home\t/home/ann
causeway:writable\tyes
causeway:libc\tglibc 2.36
causeway:cores\t8
causeway:memory_kib\t1048576
causeway:disk_kib\t2048
causeway:gpus\t2
causeway:clock_s\t1795277432
causeway:python\t3.11.2 whole /usr/bin/python3.11
causeway:python\t3.12.1 lacks-ssl /opt/python 3/bin/python3
causeway:python\tnonsense
causeway:reach\thttp://a:1 no [Errno 111] Connection refused
causeway:reach\thttp://b:1 ok 503 Sat, 21 Nov 2026 16:10:32 GMT
causeway:index\tok 200 -
not ours:user\troot
causeway:end\tyes
"""


def test_what_a_whole_probe_says() -> None:
    found = findings.read(WHOLE)
    assert found.whole
    assert (found.user, found.uid, found.home, found.writable) == ("ann", 1000, "/home/ann", True)
    assert found.glibc == (2, 36)
    assert (found.cores, found.memory_bytes, found.disk_bytes) == (8, 1024**3, 2 * 1024**2)
    assert found.gpus == 2
    assert [(one.shown, one.lacks) for one in found.pythons] == [("3.11.2", ""), ("3.12.1", "ssl")]
    assert found.pythons[1].path == "/opt/python 3/bin/python3"
    assert found.reaches[0].why == "[Errno 111] Connection refused"
    assert found.reached == found.reaches[1]
    assert found.reaches[1].clock_s == 1795277432
    assert found.index


@pytest.mark.parametrize(
    ("line", "glibc"),
    [
        ("glibc 2.17", (2, 17)),
        ("ldd (Debian GLIBC 2.36-9+deb12u14) 2.36", (2, 36)),
        ("musl libc (x86_64)", None),
        ("", None),
    ],
)
def test_the_c_library(line: str, glibc: tuple[int, int] | None) -> None:
    assert findings.read(f"causeway:libc\t{line}\n").glibc == glibc


@pytest.mark.parametrize("text", ["", "bash: no\n", "causeway:\n", "causeway:uid\tx\n\x00"])
def test_noise_claims_nothing(text: str) -> None:
    found = findings.read(text)
    assert not found.whole
    assert found.disk_bytes is None
    assert found.uid == -1
    assert found.reached is None


def test_the_probe_tells_of_this_machine() -> None:
    script = files("causeway.adapters.ssh").joinpath("probe.sh").read_bytes()
    # Port 9 of this machine: nobody discards there.
    done = subprocess.run(
        ["/bin/sh", "-s", "--", "http://127.0.0.1:9,http://127.0.0.1:9/", "", ""],
        input=script,
        capture_output=True,
        check=True,
    )
    found = findings.read(done.stdout.decode())
    assert found.whole
    assert found.system == "Linux"
    assert found.pythons
    assert found.disk_bytes
    assert [one.ok for one in found.reaches] == [False, False]
    assert "refused" in found.reaches[0].why
    assert not found.index
