"""What goes wrong at a database, in the words of the error tree.

A constraint that refuses a row means that the world moved on (`Conflict`); a value that the
database cannot hold is the caller's (`InvalidInput`); everything else that a driver reports means
that the store cannot be reached or cannot write now (`Unavailable`), and that the outcome of a
commit may be unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from causeway.model.errors import Conflict, InvalidInput, Unavailable


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn a driver's error into one of the tree, saying what was being done."""
    try:
        yield
    except exc.IntegrityError as error:
        raise Conflict(
            f"{doing}: the store refused a row: {error.orig}",
            hint="load again; another control plane may have written",
        ) from error
    except (exc.DataError, OverflowError, UnicodeEncodeError) as error:
        raise InvalidInput(f"{doing}: a value cannot be stored: {error}") from error
    except (exc.DBAPIError, exc.TimeoutError) as error:
        cause = getattr(error, "orig", None) or error
        raise Unavailable(
            f"{doing}: the store does not answer: {cause}",
            hint="check the database and its disk; the call may be repeated",
        ) from error
