"""The energy room: joules from meters to jobs, and from joules to carbon, all in integers.

    IT energy (mJ)  --x PUE-->  facility energy (mJ)  --x grid intensity-->  carbon (mg CO2e)

Running totals are converted, never single intervals, so rounding cannot drift. A device's energy is
shared among the jobs on it so that the parts sum to the meter exactly. Every figure carries the
quality of its worst source, and nothing an island reports is taken without bounds.

    convert   PUE and carbon arithmetic, quality tiers
    accept    one usage tick folded into the accepted usage, or refused with the reason
    allocate  one device's or node's energy shared among its jobs
    summary   a job's energy in the units that people read
"""

from causeway.energy.accept import accept, step_over
from causeway.energy.allocate import Allocation, Claim, allocate, residual
from causeway.energy.convert import carbon_mg, facility_mj, worst
from causeway.energy.summary import EnergySummary, summary

__all__ = [
    "Allocation",
    "Claim",
    "EnergySummary",
    "accept",
    "allocate",
    "carbon_mg",
    "facility_mj",
    "residual",
    "step_over",
    "summary",
    "worst",
]
