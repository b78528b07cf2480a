"""Takes in files that were written into the submitter's folder after the job was submitted.

Runs beside a job's script: `late.py FOLDER KEY PORT...`. It listens on the first port that is
free, for the submitter's machine, which comes through the centre's relay. Any Python 3.8 or newer
runs it.

    <key>\\n
    {"path": "logs/a.pkl", "bytes": 5}\\n hello   for each file
    {}\\n                                          then it answers ok\\n
"""

import json
import os
import socket
import sys
from typing import BinaryIO

BYTES_MAX = 64 * 1024 * 1024
LINE_BYTES_MAX = 8192
LIST = ".slurm/late"
"""What was taken in, a path on each line."""


def take(stream: BinaryIO, folder: str, key: str) -> bool:
    """Write the files of one connection; say whether all of them came."""
    if stream.readline(LINE_BYTES_MAX).strip() != key.encode():
        return False
    left = BYTES_MAX
    while True:
        entry = json.loads(stream.readline(LINE_BYTES_MAX))
        if not entry:
            return True
        data = stream.read(min(entry["bytes"], left))
        left -= len(data)
        path = os.path.normpath(entry["path"])
        if len(data) != entry["bytes"] or path.startswith((os.pardir, os.sep)):
            return False
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        fresh = target + ".late"
        with open(fresh, "wb") as file:
            file.write(data)
        # They are the submitter's own: the wrapper reads here that they need not come back.
        with open(os.path.join(folder, LIST), "a") as known:
            known.write("./" + path + "\n")
        os.replace(fresh, target)


def main(folder: str, key: str, *ports: str) -> int:
    """Listen until the job ends."""
    server = socket.socket()
    for port in ports:
        try:
            server.bind(("127.0.0.1", int(port)))
            break
        except OSError:
            continue
    else:
        return 1
    server.listen()
    while True:
        connection, _ = server.accept()
        connection.settimeout(30)
        with connection, connection.makefile("rb") as stream:
            try:
                if take(stream, folder, key):
                    connection.sendall(b"ok\n")
            except (OSError, ValueError, KeyError, TypeError):
                # Half a delivery is made again by who delivers.
                continue


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
