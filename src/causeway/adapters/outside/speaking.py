"""The two kinds of trouble with an engine: it does not answer, or it answers that it will not."""

from __future__ import annotations

from causeway.model.errors import Refused, Unavailable


class Silent(Unavailable):
    """The engine did not answer, or not to us, or not as it should: nothing follows for any job."""


class Declined(Refused):
    """The engine answered, and will not do it: this job is refused."""


class PartlyDeclined(Refused):
    """The engine has taken a part of an attempt, and will not take the rest."""
