"""Round trips over real loopback sockets; ages by a clock that the test turns."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from causeway.agent.health import Gauges
from causeway.agent.probes import CONNECTIONS_MAX, Prober, measure_ms
from causeway.model.errors import InvalidInput
from causeway.ports.artifacts import Moved


class Chance:
    """Counts instead of drawing."""

    def __init__(self) -> None:
        self.turn = 0

    def bits(self, count: int) -> int:
        self.turn += 1
        return self.turn % 2**count


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def test_a_listener_is_measured_and_a_silent_port_is_not(tmp_path: Path) -> None:
    async def go() -> None:
        gauges, chance = Gauges(tmp_path), Chance()
        port = free_port()
        listener = Prober(f"127.0.0.1:{port}", Gauges(tmp_path), chance)
        server = await listener.listen()
        assert server is not None
        other = Prober("", gauges, chance)
        assert await other.listen() is None
        gauges.told({"near": f"127.0.0.1:{port}", "silent": f"127.0.0.1:{free_port()}"})
        await other.measure(gauges.others)
        seen = gauges.read().latency_ms
        assert seen.keys() == {"near"}
        assert seen["near"] > 0
        server.close()
        await server.wait_closed()
        await other.measure(gauges.others)
        assert gauges.read().latency_ms == {}

    asyncio.run(go())


def test_what_does_not_echo_is_not_measured() -> None:
    async def go() -> None:
        async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(16)
            writer.write(b"x" * 16)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(lie, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await measure_ms(f"127.0.0.1:{port}", Chance()) is None
        server.close()

    asyncio.run(go())


def test_the_listener_holds_few_connections(tmp_path: Path) -> None:
    async def go() -> None:
        listener = Prober(f"127.0.0.1:{free_port()}", Gauges(tmp_path), Chance())
        server = await listener.listen()
        assert server is not None
        held = [
            await asyncio.open_connection("127.0.0.1", listener.port)
            for _ in range(CONNECTIONS_MAX)
        ]
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        assert await reader.read() == b""
        for _, one in [*held, (reader, writer)]:
            one.close()
        server.close()

    asyncio.run(go())


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    async def go() -> None:
        with socket.socket() as taken:
            taken.bind(("", 0))
            taken.listen()
            prober = Prober(f"x:{taken.getsockname()[1]}", Gauges(tmp_path), Chance())
            with pytest.raises(InvalidInput, match="probe address"):
                await prober.listen()

    asyncio.run(go())


def test_each_figure_keeps_its_own_age(tmp_path: Path) -> None:
    now = [1_000]
    gauges = Gauges(tmp_path, lambda: now[0])
    assert gauges.read().rtt_age_ms == 0
    gauges.exchanged(12.5)
    now[0] += 3_000
    gauges.moved(Moved(artifact="a", bytes=10**7, moved_bytes=10**7, seconds=1.0))
    gauges.told({"b": "b:1", "c": "c:1"})
    gauges.reached("b", 4.0)
    now[0] += 500
    health = gauges.read()
    assert (health.rtt_ms, health.rtt_age_ms) == (12.5, 3_500)
    assert (health.bandwidth_mbit_s, health.bandwidth_age_ms) == (80.0, 500)
    assert (health.latency_ms, health.latency_age_ms) == ({"b": 4.0}, {"b": 500})
    gauges.told({"c": "c:1"})
    assert gauges.read().latency_ms == {}
