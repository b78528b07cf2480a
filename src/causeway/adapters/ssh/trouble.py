"""What `ssh` said when it failed, as an error that names the next command. Pure.

`ssh` ends with 255 for its own failures and says why on standard error; these are OpenSSH's words,
which have been the same for many years. What is not in the table is passed on as it was said.
"""

from __future__ import annotations

from causeway.model.errors import CausewayError, NotFound, Refused, Unauthenticated, Unavailable

OWN_FAILURE = 255
SAID_CHARS_MAX = 300


class BrokeOff(Unavailable):
    """A connection that stood, or nearly did: the same may be tried again."""


_ROWS: tuple[tuple[str, type[CausewayError], str, str], ...] = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Refused,
     "the host key of {host} has changed: it was set up anew, or somebody stands in between",
     "ask its owner for the new fingerprint; only then: ssh-keygen -R {name}, and ssh {host}"),
    ("Host key verification failed", Refused,
     "{host} is not a known host, or its key is not the known one",
     "ssh {host}, compare the fingerprint with its owner's, and answer yes"),
    ("Too many authentication failures", Unauthenticated,
     "{host} refused: the SSH agent offered too many keys before the right one",
     "name the key for this host in ~/.ssh/config: IdentityFile ..., IdentitiesOnly yes"),
    ("Permission denied", Unauthenticated,
     "{host} does not take your key",
     "ssh-copy-id {host}, or name the right user (user@{name}) or key (IdentityFile)"),
    ("Could not resolve hostname", NotFound,
     "there is no host {name}: its name is not known here",
     "check the name; hosts of ~/.ssh/config count too: ssh -G {host}"),
    ("Connection refused", Unavailable,
     "{name} answers, but nothing takes SSH there",
     "another port? write it into ~/.ssh/config (Port); try: ssh -v {host} true"),
    ("No route to host", Unavailable,
     "{name} cannot be reached from here: no route to it",
     "is it switched on, is the VPN up? a jump host goes into ~/.ssh/config (ProxyJump)"),
    ("Network is unreachable", Unavailable,
     "{name} cannot be reached from here: no route to its network",
     "is the VPN up? a jump host goes into ~/.ssh/config (ProxyJump)"),
    ("timed out", Unavailable,
     "{name} does not answer",
     "is it switched on, is the VPN up? a jump host goes into ~/.ssh/config (ProxyJump)"),
    ("Bad owner or permissions", Refused,
     "ssh does not trust your own configuration: {said}",
     "chmod 600 ~/.ssh/config"),
)  # fmt: skip
"""(what is in the words, error, message, hint), the first that matches."""


def named(host: str) -> str:
    """Return the host without a user.

    >>> named("me@box"), named("box")
    ('box', 'box')
    """
    return host.rpartition("@")[2]


def trouble(host: str, said: str) -> CausewayError:
    """Return the error for what `ssh` said about a host."""
    words = " ".join(said.split())
    last = words[-SAID_CHARS_MAX:]
    for part, kind, message, hint in _ROWS:
        if part in words:
            names = {"host": host, "name": named(host), "said": last}
            return kind(message.format(**names), hint=hint.format(**names))
    return BrokeOff(
        f"the connection to {host} broke off" + (f": {last}" if last else ""),
        hint=f"try: ssh -v {host} true; then the same again, it goes on where it was",
    )
