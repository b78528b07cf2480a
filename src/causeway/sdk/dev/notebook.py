"""Jupyter inside a session: started when somebody first asks for it, on loopback, with a token.

A client reaches it as the host `jupyter` of an SSH forward (`-L 8888:jupyter:80`), so its port is
nobody's business. What is there is used: `.venv` of the working folder first, then `PATH`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from causeway.model.errors import NotFound, Unavailable

PROGRAMS = ("jupyter-lab", "jupyter-notebook", "jupyter-server")
READY_S = 60.0
LOOK_S = 0.2


class Notebook:
    """One Jupyter server, or none yet."""

    def __init__(self, work: Path, env: Mapping[str, str], token: str) -> None:
        self._work = work
        self._env = env
        self._token = token
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        self._turn = asyncio.Lock()

    def program(self) -> str:
        """Return the program that would be started, or raise `NotFound`."""
        path = f"{self._work / '.venv' / 'bin'}:{self._env.get('PATH', '')}"
        for name in PROGRAMS:
            if found := shutil.which(name, path=path):
                return found
        raise NotFound(
            "Jupyter is not there",
            hint="put into `setup` of a job file: python -m venv .venv && "
            ".venv/bin/pip install jupyterlab",
        )

    async def port(self) -> int:
        """Return the port where it listens, after starting it where it does not run."""
        async with self._turn:
            if self._process is None or self._process.returncode is not None:
                await self._start()
            return self._port

    async def _start(self) -> None:
        program = self.program()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        line = [program, "--no-browser", "--ip=127.0.0.1", f"--port={self._port}"]
        line += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={self._work}"]
        if os.geteuid() == 0:
            # Inside a job that is root of its own sandbox at most; Jupyter cannot know.
            line.append("--allow-root")
        self._process = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.DEVNULL,
            # The token is in the environment: an argument could be read by other jobs.
            env={**os.environ, **self._env, "JUPYTER_TOKEN": self._token},
            cwd=self._work,
            start_new_session=True,
        )
        for _ in range(int(READY_S / LOOK_S)):
            if self._process.returncode is not None:
                raise Unavailable(
                    f"Jupyter ended with {self._process.returncode}; its words are in the job's log"
                )
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(LOOK_S)
                continue
            writer.close()
            return
        raise Unavailable(f"Jupyter did not listen within {READY_S:.0f} s")
