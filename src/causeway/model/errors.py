"""Every error that a person or a peer may meet, as one tree.

    CausewayError
    ├── InvalidInput        what was sent cannot be understood or is out of bounds
    │   └── TooLarge        it is bigger than the stated bound
    ├── Unauthenticated     who you are is not known
    ├── Refused             who you are is known, and you may not
    │   └── QuotaExceeded   a quota or a budget says no
    ├── NotFound            there is no such thing (or it is another tenant's)
    ├── Conflict            the world moved on, or the same key carries another body
    │   └── StaleFence      this attempt lost its lease; its writes are refused
    ├── Unavailable         try again: the store, the leader or an island cannot be reached
    └── IllegalMove         a state machine was asked for a move it does not have (a bug)

An error says what happened, why, and the next command. `EXITS` and `STATUSES` are the only tables
that map errors to exit codes and HTTP statuses.
"""

from __future__ import annotations


class CausewayError(Exception):
    """The root. `where` names the place in the input (`$.resources.cpus`), or is empty."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def as_dict(self) -> dict[str, str]:
        """Return the problem as plain data; the doors add the status."""
        body = {"code": self.code, "message": self.message}
        if self.where:
            body["where"] = self.where
        if self.hint:
            body["hint"] = self.hint
        return body


class InvalidInput(CausewayError):
    code = "invalid_input"


class TooLarge(InvalidInput):
    code = "too_large"


class Unauthenticated(CausewayError):
    code = "unauthenticated"


class Refused(CausewayError):
    code = "refused"


class QuotaExceeded(Refused):
    code = "quota_exceeded"


class NotFound(CausewayError):
    code = "not_found"


class Conflict(CausewayError):
    code = "conflict"


class StaleFence(Conflict):
    code = "stale_fence"


class Unavailable(CausewayError):
    code = "unavailable"


class IllegalMove(CausewayError):
    code = "illegal_move"


EXITS: dict[str, int] = {
    "invalid_input": 2,
    "too_large": 2,
    "not_found": 3,
    "unauthenticated": 4,
    "refused": 4,
    "quota_exceeded": 4,
    "conflict": 5,
    "stale_fence": 5,
    "unavailable": 6,
    "illegal_move": 70,
    "error": 70,
}
"""Exit code by error code. 0 is success, 1 means that a job or a plan said no, 130 is Ctrl-C."""

STATUSES: dict[str, int] = {
    "invalid_input": 422,
    "too_large": 413,
    "unauthenticated": 401,
    "refused": 403,
    "quota_exceeded": 403,
    "not_found": 404,
    "conflict": 409,
    "stale_fence": 409,
    "unavailable": 503,
    "illegal_move": 500,
    "error": 500,
}
"""HTTP status by error code."""
