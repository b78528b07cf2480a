"""`parse`: recognise which format a text is in, translate it, and validate it once.

Recognition is by what only one format has: a `#SBATCH` line; dstack's `type:`; fields that only
SkyPilot knows, or its way of writing sizes without a unit. Everything else is Causeway's own. A
foreign file's errors name the place in the file that was sent, not in the translation.
"""

from __future__ import annotations

from causeway.model.errors import InvalidInput
from causeway.model.jobs import Submission
from causeway.spec import dstack, native, skypilot, slurm
from causeway.spec.fields import kind_of
from causeway.spec.reading import check_text, decode, documents
from causeway.spec.translated import Translated


def parse(text: str, *, source: str = "job.yaml", local_paths: bool = False) -> Submission:
    """Read YAML, JSON, a SkyPilot or dstack task, or a `#SBATCH` script.

    `source` is the file's name, for messages. `local_paths` lets `workdir` and `inputs` name
    folders of the sender's machine; only a client that uploads them sets it.
    """
    try:
        check_text(text)
        translated = _translate(text)
        try:
            return native.submission(
                translated.tree, notes=translated.notes, local_paths=local_paths
            )
        except InvalidInput as error:
            error.where = translated.place(error.where)
            raise
    except InvalidInput as error:
        if source and source != "job.yaml":
            error.message = f"{source}: {error.message}"
            error.args = (error.message,)
        raise


def parse_bytes(data: bytes, *, source: str = "job.yaml", local_paths: bool = False) -> Submission:
    """Read what came as bytes; broken UTF-8 is refused by position."""
    return parse(decode(data), source=source, local_paths=local_paths)


def _translate(text: str) -> Translated:
    if slurm.recognises(text):
        return slurm.translate(text)
    docs = [d for d in documents(text) if d is not None]
    if not docs:
        raise InvalidInput(
            "the file is empty", where="$", hint="the least is: run: python train.py"
        )
    if len(docs) > 1:
        return skypilot.translate_pipeline(docs)
    tree = docs[0]
    if not isinstance(tree, dict):
        raise InvalidInput(
            f"must be a mapping of fields, not {kind_of(tree)}",
            where="$",
            hint="the least is: run: python train.py",
        )
    if dstack.recognises(tree):
        return dstack.translate(tree)
    if skypilot.recognises(tree):
        return skypilot.translate(tree)
    return Translated(tree=tree)
