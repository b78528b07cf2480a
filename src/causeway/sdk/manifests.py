"""Manifests: a folder as a list of verified chunks, and the rules for making one back into files.

What lives here: walking a folder into a `Manifest`, its canonical bytes and id, reading one that
came from outside, and signatures. What may not: the network, and writing files (`transfer` does
both).

Everything that crosses a trust line is checked in one place, `parse_manifest`: no path leaves the
folder, no path is there twice or is both a file and a folder, every size is bounded, and the number
of chunks follows from the size. Two paths that differ only in case are two files. Symbolic links,
devices, sockets and pipes are refused, never followed. Empty folders are not kept. Of the mode only
"may be executed" is kept, so that equal content has an equal id whatever the umask was.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from causeway.model.artifacts import CHUNK_BYTES, FileEntry, Manifest
from causeway.model.errors import InvalidInput, NotFound, TooLarge
from causeway.model.identifiers import canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VERSION = 1
KINDS = frozenset({"workdir", "checkpoint", "output", "model", "dataset"})
FILES_MAX = 100_000
BYTES_MAX = 1024**4
"""Largest artefact: 1 TiB."""
MANIFEST_BYTES_MAX = 32 * 1024**2
PATH_BYTES_MAX = 1024
NAME_BYTES_MAX = 255
META_MAX = 64
META_CHARS_MAX = 1024
PARTIAL = ".partial"
"""Folder at the top where a pull keeps what it has so far; never part of an artefact."""
IGNORE_FILE = ".causewayignore"
"""In a working folder: one glob per line, against the name or the relative path."""
IGNORED_ALWAYS = (".git", "__pycache__", ".venv", "node_modules", "*.pyc")
"""Left out of working folders: made again on the other side, and often full of links."""

_HEX = re.compile(r"[0-9a-f]{64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_INTEGER_MAX = 2**53 - 1
"""Beyond this, other languages' JSON readers lose digits."""


def is_chunk_name(text: str) -> bool:
    """Say whether the text is a lower-case hex SHA-256."""
    return bool(_HEX.match(text))


def is_storable(text: str) -> bool:
    """Say whether every store and log can hold the text: no lone surrogate, no control code."""
    return not any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in text)


def check_path(path: str, *, where: str = "") -> str:
    """Return the relative POSIX path, or raise `InvalidInput` saying which rule it breaks.

    >>> check_path("a/b.txt")
    'a/b.txt'
    """
    if not path or path.startswith("/"):
        raise InvalidInput(f"path {path!r} is empty or absolute", where=where)
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"path {path!r} is not UTF-8", where=where) from None
    if size > PATH_BYTES_MAX:
        raise InvalidInput(f"path has {size} bytes; the most is {PATH_BYTES_MAX}", where=where)
    if _CONTROL.search(path):
        raise InvalidInput(
            f"path {path!r} holds a control character or a backslash",
            hint="rename the file",
            where=where,
        )
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f"path {path!r} may not hold '.', '..' or '//'", where=where)
    if any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        raise InvalidInput(f"a name in {path!r} is over {NAME_BYTES_MAX} bytes", where=where)
    if parts[0] == PARTIAL:
        raise InvalidInput(f"path {path!r} is in the folder kept for transfers", where=where)
    return path


def build_manifest(
    folder: Path,
    *,
    kind: str,
    paths: Sequence[str] = (),
    meta: Mapping[str, str | int] | None = None,
) -> Manifest:
    """Hash the folder, or the files and folders below it that `paths` names.

    Raises `InvalidInput` for anything that is not a regular file, and `NotFound` for a path that is
    not there. The order is that of the paths as text, so equal folders make equal manifests.
    """
    if kind not in KINDS:
        raise InvalidInput(
            f"kind {kind!r} is not known", hint=f"one of: {', '.join(sorted(KINDS))}"
        )
    found = _collect_files(folder, kind, paths)
    files = tuple(_entry(folder, path) for path in sorted(found))
    return Manifest(kind=kind, files=files, meta=_checked_meta(dict(meta or {})))


def _collect_files(folder: Path, kind: str, paths: Sequence[str]) -> set[str]:
    if not folder.is_dir():
        raise NotFound(f"there is no folder {str(folder)!r}")
    ignored = _ignore_rule(folder) if kind == "workdir" else lambda _path: False
    found: set[str] = set()
    for start in paths or (".",):
        whole = start in (".", "./", "")
        relative = "" if whole else check_path(start.removeprefix("./").rstrip("/"))
        for path in _walk(folder, relative, ignored):
            found.add(check_path(path))
            if len(found) > FILES_MAX:
                raise TooLarge(f"there are more than {FILES_MAX} files", where=start)
    return found


def _ignore_rule(folder: Path) -> Callable[[str], bool]:
    patterns = list(IGNORED_ALWAYS)
    rules = folder / IGNORE_FILE
    if rules.is_file() and not rules.is_symlink():
        lines = (line.strip().rstrip("/") for line in rules.read_text("utf-8").splitlines())
        patterns += [line for line in lines if line and not line.startswith("#")]

    def ignored(path: str) -> bool:
        name = path.rpartition("/")[2]
        return any(fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(path, p) for p in patterns)

    return ignored


def _walk(folder: Path, relative: str, ignored: Callable[[str], bool]) -> Iterator[str]:
    """Yield the regular files at and below the path; every step is looked at without following."""
    walked = ""
    for part in relative.split("/") if relative else []:
        walked = f"{walked}/{part}" if walked else part
        _refuse_special(folder / walked, walked)
    stack = [relative]
    while stack:
        path = stack.pop()
        place = folder / path if path else folder
        if path and stat.S_ISREG(_refuse_special(place, path)):
            yield path
            continue
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            below = f"{path}/{name}" if path else name
            if below != PARTIAL and not ignored(below):
                stack.append(below)


def _refuse_special(place: Path, path: str) -> int:
    """Return the file type, or refuse what is neither a regular file nor a folder."""
    try:
        mode = place.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no {path!r} in {str(place.parent)!r}", where=path) from None
    if stat.S_ISLNK(mode):
        raise InvalidInput(
            f"{path!r} is a symbolic link; artefacts hold regular files only",
            hint="copy what it points to, or leave it out",
            where=path,
        )
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InvalidInput(f"{path!r} is not a regular file", where=path)
    return mode


def open_regular(place: Path, path: str) -> int:
    """Open for reading without following a link at the end, and make sure that it is a file."""
    try:
        # Without O_NONBLOCK, a pipe put in the file's place would hold the caller for ever.
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"cannot read {path!r}: {error.strerror}", where=path) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidInput(f"{path!r} is not a regular file", where=path)
    return handle


def _entry(folder: Path, path: str) -> FileEntry:
    handle = open_regular(folder / path, path)
    chunks: list[str] = []
    size = 0
    with os.fdopen(handle, "rb", buffering=0) as file:
        mode = 0o755 if os.fstat(handle).st_mode & stat.S_IXUSR else 0o644
        while piece := _read_whole(file.fileno(), CHUNK_BYTES, size):
            chunks.append(hashlib.sha256(piece).hexdigest())
            size += len(piece)
            if len(piece) < CHUNK_BYTES:
                break
    return FileEntry(path=path, bytes=size, mode=mode, chunks=tuple(chunks))


def _read_whole(handle: int, count: int, offset: int) -> bytes:
    """Read `count` bytes at the offset, or what there is before the end."""
    pieces: list[bytes] = []
    while count and (piece := os.pread(handle, count, offset)):
        pieces.append(piece)
        count -= len(piece)
        offset += len(piece)
    return b"".join(pieces)


def read_chunk(folder: Path, path: str, index: int) -> bytes:
    """Return the bytes of one chunk of a file below the folder."""
    handle = open_regular(folder / path, path)
    try:
        return _read_whole(handle, CHUNK_BYTES, index * CHUNK_BYTES)
    finally:
        os.close(handle)


def chunk_bytes(entry: FileEntry, index: int) -> int:
    """Return the size that the chunk must have."""
    return min(CHUNK_BYTES, entry.bytes - index * CHUNK_BYTES)


def total_bytes(manifest: Manifest) -> int:
    """Return the content's size in bytes."""
    return sum(entry.bytes for entry in manifest.files)


def chunk_names(manifest: Manifest) -> list[str]:
    """Return every chunk once, in the order of first use."""
    return list(dict.fromkeys(chunk for entry in manifest.files for chunk in entry.chunks))


def chunk_sizes(manifest: Manifest) -> dict[str, int]:
    """Return every chunk once, in the order of first use, with its bytes."""
    sizes: dict[str, int] = {}
    for entry in manifest.files:
        for index, chunk in enumerate(entry.chunks):
            sizes[chunk] = chunk_bytes(entry, index)
    return sizes


def manifest_as_json(manifest: Manifest) -> dict[str, object]:
    """Return the manifest as plain JSON values, as they are hashed, signed and sent."""
    return {
        "version": VERSION,
        "kind": manifest.kind,
        "files": [
            {"path": f.path, "bytes": f.bytes, "mode": f.mode, "chunks": list(f.chunks)}
            for f in manifest.files
        ],
        "meta": dict(manifest.meta),
    }


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the canonical JSON: what is hashed and signed."""
    return canonical_json(manifest_as_json(manifest))


def manifest_id(raw: bytes) -> str:
    """Return `sha256:<hex>` of a manifest's canonical bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def parse_manifest(body: bytes | Mapping[str, object]) -> Manifest:
    """Read a manifest that came from outside; `InvalidInput` names the place that is wrong."""
    if isinstance(body, bytes):
        if len(body) > MANIFEST_BYTES_MAX:
            raise TooLarge(f"manifest is over {MANIFEST_BYTES_MAX} bytes")
        try:
            body = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"manifest is not JSON: {error}") from error
    fields = _object(body, {"version", "kind", "files", "meta"}, "$")
    if fields["version"] != VERSION or isinstance(fields["version"], bool):
        raise InvalidInput(f"manifest version must be {VERSION}", where="$.version")
    kind, files = fields["kind"], fields["files"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidInput(f"kind {kind!r} is not known", where="$.kind")
    if not isinstance(files, list):
        raise InvalidInput("files must be a list", where="$.files")
    if len(files) > FILES_MAX:
        raise TooLarge(f"there are more than {FILES_MAX} files", where="$.files")
    entries = tuple(_parse_entry(f, f"$.files[{i}]") for i, f in enumerate(files))
    _refuse_clashes(entries)
    manifest = Manifest(kind=kind, files=entries, meta=_checked_meta(fields["meta"]))
    if total_bytes(manifest) > BYTES_MAX:
        raise TooLarge(f"the content is over {BYTES_MAX} bytes", where="$.files")
    return manifest


def _object(value: object, names: set[str], where: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidInput("must be an object", where=where)
    if set(value) != names:
        odd = ", ".join(sorted(str(name) for name in set(value) ^ names))
        raise InvalidInput(f"unknown or missing fields: {odd}", where=where)
    return dict(value)


def _parse_entry(value: object, where: str) -> FileEntry:
    fields = _object(value, {"path", "bytes", "mode", "chunks"}, where)
    path, chunks = fields["path"], fields["chunks"]
    if not isinstance(path, str):
        raise InvalidInput("path must be text", where=f"{where}.path")
    size = _integer(fields["bytes"], BYTES_MAX, f"{where}.bytes")
    mode = _integer(fields["mode"], 0o777, f"{where}.mode")
    if not isinstance(chunks, list) or not all(
        isinstance(chunk, str) and is_chunk_name(chunk) for chunk in chunks
    ):
        raise InvalidInput("chunks must be lower-case hex SHA-256", where=f"{where}.chunks")
    if len(chunks) != -(-size // CHUNK_BYTES):
        raise InvalidInput(
            f"{size} bytes need {-(-size // CHUNK_BYTES)} chunks, not {len(chunks)}",
            where=f"{where}.chunks",
        )
    path = check_path(path, where=f"{where}.path")
    return FileEntry(path=path, bytes=size, mode=mode, chunks=tuple(chunks))


def _integer(value: object, most: int, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidInput(f"must be an integer from 0 to {most}", where=where)
    return value


def _refuse_clashes(entries: Sequence[FileEntry]) -> None:
    """Refuse a path that is there twice, is out of order, or is both a file and a folder."""
    files = {entry.path for entry in entries}
    for index, entry in enumerate(entries):
        if index and entry.path <= entries[index - 1].path:
            raise InvalidInput(
                f"path {entry.path!r} is there twice or out of order", where=f"$.files[{index}]"
            )
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in files:
                raise InvalidInput(
                    f"{'/'.join(parts[:depth])!r} is both a file and a folder",
                    where=f"$.files[{index}]",
                )


def _checked_meta(value: object) -> dict[str, str | int]:
    if not isinstance(value, dict) or len(value) > META_MAX:
        raise InvalidInput(f"meta must be an object of at most {META_MAX} values", where="$.meta")
    for name, item in value.items():
        where = f"$.meta.{name}"
        if not isinstance(name, str) or len(name) > META_CHARS_MAX:
            raise InvalidInput("a name in meta must be short text", where="$.meta")
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise InvalidInput("a value in meta must be text or an integer", where=where)
        if isinstance(item, str) and len(item) > META_CHARS_MAX:
            raise TooLarge(f"a value in meta has over {META_CHARS_MAX} characters", where=where)
        if not is_storable(name) or not is_storable(str(item)):
            raise InvalidInput("text in meta must be UTF-8 without control characters", where=where)
        if isinstance(item, int) and abs(item) > _INTEGER_MAX:
            raise InvalidInput("an integer in meta is beyond 2**53", where=where)
    return value


def sign_manifest(raw: bytes, key: Ed25519PrivateKey) -> str:
    """Return the Ed25519 signature over a manifest's canonical bytes, base64."""
    return base64.b64encode(key.sign(raw)).decode()


def signature_holds(raw: bytes, signature: str, public_key: str) -> bool:
    """Say whether the signature over the bytes is by the holder of the public key (base64)."""
    # Imported here: a job that only writes checkpoints should not pay for it.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(signature, validate=True), raw)
    except (ValueError, InvalidSignature):
        return False
    return True
