"""The examples in the docstrings of `words` are true."""

import doctest

from causeway.schedule import words


def test_the_examples_hold() -> None:
    result = doctest.testmod(words)
    assert result.attempted >= 6
    assert result.failed == 0
