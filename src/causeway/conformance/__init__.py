"""The conformance suite of the engine port: what every adapter, ours or anybody's, must do.

    case.py      what a case is; the registry
    bench.py     what a case works with: attempts, deadlines, the agent's own life
    island.py    one engine on one root, used as an agent uses it
    far.py       the same in a child process, so that an agent can really be killed; child.py
    history.py   what may follow what in an attempt's statuses
    subject.py   which engine is tried, and what its profile says for the suite
    suite.py     runs the cases
    report.py    what a run found
    page.py      the table in the docs, from kept reports
    scripts.py   what the jobs run
    cases/       the cases, by theme

The suite knows the port and nothing of any adapter. It concludes from what jobs write into their
folders and from what the port says, so it works as well on an engine whose jobs run elsewhere.
"""

from causeway.conformance.report import Outcome, Report, Result
from causeway.conformance.suite import run_suite

__all__ = ["Outcome", "Report", "Result", "run_suite"]
