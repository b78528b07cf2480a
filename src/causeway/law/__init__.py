"""The law room: may this data go there, may this hardware stand there? With the rule cited.

Rules are data (`rules.toml`): values, dates, sources, confidence, and when somebody last reviewed
them. They are not legal advice, and who runs a platform edits them. This room only parses the text
and applies it; reading the file is the shell's.

    rules      the text -> `Rules`: blocs, classes of data, rules with dates and sources
    verdict    labels x place -> `Allowed` or `Denied(reason)`; and the same for a whole round
    hardware   accelerators -> total processing performance, which export rules are written in

How a verdict is reached. A place has the countries that have a hand in it: its site's and that of
its operator's ultimate parent. Every label must be allowed in every one of them. Rules of a kind
that match are compared and the strictest wins; a fallback counts only where its own regime has
nothing more special. At home (a country inside the region whose law follows the data) only rules
that name the country count. Where nothing matches, the class of data decides: personal and
important data are denied, so a law that nobody entered is never broken silently. What carries no
label is not restricted.
"""

from causeway.law.hardware import tpp_of
from causeway.law.rules import RULES_FILE, Rule, Rules, Ruling, parse, warnings
from causeway.law.verdict import Allowed, Denied, Place, place_of, verdict, verdicts

__all__ = [
    "RULES_FILE",
    "Allowed",
    "Denied",
    "Place",
    "Rule",
    "Rules",
    "Ruling",
    "parse",
    "place_of",
    "tpp_of",
    "verdict",
    "verdicts",
    "warnings",
]
