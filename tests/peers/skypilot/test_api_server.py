"""SkyPilot's real API server, as far as it goes without the internet.

A home folder of its own holds a key of Fluidstack that is not one (SkyPilot takes a key that is
there for a working one) and a catalogue of three lines, so check, offers and the optimiser really
answer, and a launch goes as far as the cloud's own door, which cannot be reached. The server's
bootstrap, a machine that stands, and its end need a cloud: those are played in
`tests/adapters/skypilot`, and here the played answers are held against the real ones.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.adapters.skypilot.played import RECORDED

from causeway.adapters.skypilot import said, task
from causeway.adapters.skypilot.profile import parse
from causeway.adapters.skypilot.wire import Sky, SkyFailed
from causeway.burst import Launch, Rental
from causeway.demo.world import World, free_port
from causeway.model.errors import CausewayError

pytestmark = pytest.mark.peers
ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-peers-skypilot" / "bin" / "python"
WAIT_S = 900.0
"""Only a hang takes this long; nothing is asserted about time."""
ACCELERATORS = """AcceleratorName,Clouds
H100,"['fluidstack']"
"""
GPU = (
    "\"{'Gpus': [{'Name': 'H100', 'Manufacturer': 'NVIDIA', 'Count': 1, 'MemoryInfo': "
    "{'SizeInMiB': 81920}}], 'TotalGpuMemoryInMiB': 81920}\""
)
MACHINES = f"""\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice
H100_PCIE_80GB::1,H100,1,26,120,2.49,norway_4_eu,{GPU},
H100_PCIE_80GB::1,H100,1,26,120,2.89,canada_1_ca,{GPU},
"""
PROFILE = """
budget = "20"
machines = 2
lease = "4h"
wait = "0s"
sky = "{sky}"
url = "https://causeway.example.org"
[[place]]
infra = "fluidstack/norway_4_eu"
jurisdiction = "NO"
[[place]]
infra = "lambda/us-east-1"
jurisdiction = "US"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the API server in a home of its own; yield its address."""
    assert PYTHON.exists(), "skypilot is not here: run make peers"
    home = tmp_path_factory.mktemp("sky")
    files = {
        ".fluidstack/api_key": "api_key = nothing-real\n",
        ".sky/catalogs/v8/common/accelerators.csv": ACCELERATORS,
        ".sky/catalogs/v8/fluidstack/vms.csv": MACHINES,
    }
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for last in (False, False, True):
        server = Server(home)
        try:
            if server.answers(must=last):
                yield server.url
                return
        finally:
            server.stop()


class Server:
    """One try at a server. On a starved machine it gives up by itself after a minute: then anew."""

    def __init__(self, home: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = home / "server.log"
        env = {name: v for name, v in os.environ.items() if not name.startswith(("SKY", "AWS_"))}
        env |= {"HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(PYTHON), "-m", "sky.server.server", "--port", str(port)],
                env=env,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._all = [psutil.Process(self._process.pid)]

    def answers(self, *, must: bool) -> bool:
        """Wait until it answers; False when it ended instead."""
        give_up = time.monotonic() + WAIT_S
        sky = Sky(self.url, user="test")
        try:
            while True:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._all += self._all[0].children(recursive=True)
                try:
                    sky.version()
                    return True
                except CausewayError:
                    told = self._log.read_text()[-2000:]
                    assert time.monotonic() < give_up, told
                    if self._process.poll() is not None:
                        assert not must, told
                        return False
                    time.sleep(0.2)
        finally:
            sky.close()

    def stop(self) -> None:
        """End it with all that it started: its workers outlive a server that ended by itself."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._all += self._all[0].children(recursive=True)
        for one in reversed(self._all):
            # A number that belongs to another program by now is left alone by psutil.
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()


@pytest.fixture
def sky(server: str) -> Iterator[Sky]:
    made = Sky(server, user="test")
    yield made
    made.close()


def offers(sky: Sky) -> Any:
    wish = {"gpus_only": True, "clouds": ["fluidstack"], "all_regions": True}
    more = {"require_price": True, "case_sensitive": False}
    return sky.ask("/list_accelerators", {**wish, **more})


def test_the_real_server_answers_as_recorded(sky: Sky) -> None:
    assert sky.version() == RECORDED["health"]["version"]
    for path, body, name in (
        ("/check", {"clouds": ["fluidstack"]}, "check"),
        ("/check", {"clouds": ["lambda"]}, "check_none"),
        ("/status", {"cluster_names": ["burst-none-1"], "refresh": "AUTO"}, "status_none"),
    ):
        assert sky.ask(path, body) == json.loads(RECORDED[name]["body"]["return_value"]), path
    assert offers(sky) == json.loads(RECORDED["offers"]["body"]["return_value"])


def test_its_catalogue_becomes_offers_of_the_places_that_are_allowed(sky: Sky) -> None:
    (offer,) = said.offers(offers(sky), parse(PROFILE.format(sky="")))
    assert (offer.infra, offer.price_micros_per_h) == ("fluidstack/norway_4_eu", 2_490_000)


def test_its_optimiser_takes_what_is_pinned_and_refuses_what_is_not_there(sky: Sky) -> None:
    (offer,) = said.offers(offers(sky), parse(PROFILE.format(sky="")))
    rental = Rental(name="burst-test-1", offer=offer, intended_ms=0, until_ms=1)
    body = {"minimize": 0, "request_options": None}
    assert sky.ask("/optimize", {"dag": task.dag(rental, disk_gib=256), **body}) is None
    other = task.dag(rental, disk_gib=256).replace("norway_4_eu", "mars")
    with pytest.raises(SkyFailed, match="Invalid region 'mars'"):
        sky.ask("/optimize", {"dag": other, **body})


def test_a_launch_goes_as_far_as_the_clouds_own_door(sky: Sky, tmp_path: Path) -> None:
    """Through the command line, with a real control plane: one clear sentence, nothing committed,
    and nothing left on SkyPilot's list."""
    world = World(folder=tmp_path, port=free_port())
    try:
        world.start_centre()
        job = 'name: train\nrun: "true"\nresources: {accelerators: "H100:1"}\n'
        headers = {"content-type": "application/yaml"}
        world.call("POST", "/v1/jobs", content=job, headers=headers)
        assert "H100_PCIE_80GB::1/on_demand" in causeway(world, sky.url, "--offers")[0]
        _, talk = causeway(world, sky.url, "--once")
        assert "lambda: SkyPilot cannot rent from it" in talk
        (page,) = rentals(tmp_path)
        assert page["stage"] == "launching"
        until_over(sky, page["name"])
        causeway(world, sky.url, "--once")
        (page,) = rentals(tmp_path)
        assert (page["stage"], page["failed"]) == ("gone", True)
        assert page["message"] == (
            f"{page['name']} at fluidstack/norway_4_eu: the cloud cannot be reached from "
            "SkyPilot's API server (platform.fluidstack.io)"
        )
        out, _ = causeway(world, sky.url, "--status", "--json")
        status = json.loads(out)
        assert (status["spent_micros"], status["committed_micros"]) == (0, 0)
        assert sky.ask("/status", {"cluster_names": [page["name"]], "refresh": "AUTO"}) == []
        (wait,) = json.loads(causeway(world, sky.url, "--plan", "--json")[0])
        assert (wait["wish"], wait["reasons"][0]["token"]) == ("leave", "backoff")
    finally:
        world.stop()


def test_the_played_requests_have_the_fields_of_real_ones(sky: Sky) -> None:
    request = sky.begin("/down", {"cluster_name": "burst-none-2"})
    with pytest.raises(SkyFailed, match="there is no such machine"):
        sky.outcome(request, path="/down")
    query = {"cluster_name": "burst-none-2", "all_status": "true"}
    (row,) = sky._plain(sky._http.build_request("GET", "/api/status", params=query))
    assert set(row) == set(RECORDED["requests"][0])


def test_a_parcel_is_taken(sky: Sky) -> None:

    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(f"{task.FOLDER}/x", "y")
    assert len(sky.upload(held.getvalue())) == 64


def until_over(sky: Sky, name: str) -> None:
    give_up = time.monotonic() + WAIT_S
    while (found := said.launch_of(sky.requests(name, over=True))) is None or (
        found.state is Launch.UNDER_WAY
    ):
        assert time.monotonic() < give_up
        time.sleep(0.5)


def rentals(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "book" / "book.json").read_text())["rentals"]
    return found


def causeway(world: World, sky: str, *words: str) -> tuple[str, str]:
    """Run `causeway burst` as an operator does; return what it wrote."""
    profile = world.folder / "burst.toml"
    profile.write_text(PROFILE.format(sky=sky))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "causeway.cli", "burst", str(profile)),
            *("--state", str(world.folder / "book"), *words),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"CAUSEWAY_URL": world.url, "CAUSEWAY_TOKEN": world.token},
        stdin=subprocess.DEVNULL,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
