"""The recover room: symptoms to cause to action, and the arithmetic of not losing work.

    decide         an attempt ended badly: try again (when?) or give up, with the reasons
    budgets        what each class of failure has used of its retries, and the row without progress
    diagnosis      a program's last words -> the class of its end, with the reason
    cut_off        an island cannot be reached: whether its job moves or waits, unless it says
    faults         the fault library: signals -> cause -> action; classes of exit codes
    availability   white-paper availability, Young, Daly, expected ETTR, best checkpoint interval
    measured       MTBF, MTTR and goodput of one job, from its own attempts

By count most failures are errors of the program that show within minutes, and no retry cures them;
by lost device time hardware dominates, and a retry elsewhere does. So each class of failure has a
budget of its own, and nothing is tried for ever without progress.
"""

from causeway.recover.availability import (
    availability_share,
    best_interval_s,
    daly_interval_s,
    expected_ettr_share,
    young_interval_s,
)
from causeway.recover.budgets import Standing, budget, stalls, standing
from causeway.recover.cut_off import on_disconnect
from causeway.recover.decide import Verdict, after_end
from causeway.recover.diagnosis import LAST_WORDS_BYTES, Diagnosis, asks_why, diagnosis
from causeway.recover.faults import FAULTS_FILE, Fault, classify, diagnose, parse
from causeway.recover.measured import Measured, measured

__all__ = [
    "FAULTS_FILE",
    "LAST_WORDS_BYTES",
    "Diagnosis",
    "Fault",
    "Measured",
    "Standing",
    "Verdict",
    "after_end",
    "asks_why",
    "availability_share",
    "best_interval_s",
    "budget",
    "classify",
    "daly_interval_s",
    "diagnose",
    "diagnosis",
    "expected_ettr_share",
    "measured",
    "on_disconnect",
    "parse",
    "stalls",
    "standing",
    "young_interval_s",
]
