"""The runner: what starts, guards and records an attempt where an engine's nodes run it.

`program.py` is the runner itself, copied to where the nodes see it; it imports nothing of
Causeway. `desk.py` is the agent's side of the files between them. `record.py` turns what the runner
wrote into values, and `ends.py` has the words for what they mean. An adapter of any engine that
goes on without the agent uses them: it has its engine run `Desk.command` on every node, answers
beats, and reads the truth from the records.
"""

from causeway.adapters.runner.desk import Desk, Plan, install
from causeway.adapters.runner.record import Beat, End, RankSeen, parse_record

__all__ = ["Beat", "Desk", "End", "Plan", "RankSeen", "install", "parse_record"]
