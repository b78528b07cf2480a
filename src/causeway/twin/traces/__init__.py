"""Histories of jobs from wherever they are kept, as one value: what was asked for, when, by whom.

    trace       the value, and what may be wrong with a row
    tables      CSV and Parquet files of published traces, and any CSV with named columns
    slurm       the text of `sacct --parsable2`
    kubernetes  the JSON of `kubectl get pods` and `kubectl get events`
    ledger      Causeway's own jobs, as its API gives them
    made        workloads that are drawn, not found

`load` reads any of them by the name of its format.
"""

from causeway.twin.traces.load import FORMATS, load
from causeway.twin.traces.trace import Row, Trace, collect

__all__ = ["FORMATS", "Row", "Trace", "collect", "load"]
