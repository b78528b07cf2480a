"""What Slurm's reasons mean, in words. Pure.

A job that waits shows a token; most say that its turn will come, some that it never will: then the
attempt is withdrawn and the work goes elsewhere. What sbatch or slurmrestd refuse is a sentence.
"""

from __future__ import annotations

from causeway.model.jobs import FailureClass

WAITS = {
    "None": "Slurm has not looked at it yet",
    "Priority": "jobs with a higher priority are before it",
    "Resources": "the nodes that it needs are busy",
    "Dependency": "it waits for another job",
    "BeginTime": "its begin time has not come",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held by its owner",
    "JobArrayTaskLimit": "too many of its array run already",
    "Licenses": "a licence that it needs is in use",
    "ReqNodeNotAvail": "a node that it needs is not available",
    "Reservation": "it waits for its reservation",
    "Nodes_required_for_job_are_DOWN": "the nodes that it could use are down or drained",
    "PartitionDown": "its partition takes no work now",
    "PartitionInactive": "its partition is switched off",
    "Prolog": "the cluster's prologue runs on its nodes",
    "Cleaning": "an earlier run of it is cleaned up",
    "NodeDown": "a node that it needs is down",
    "FrontEndDown": "the front end is down",
    "launch_failed_requeued_held": "its start failed on the nodes",
    "MaxMemPerLimit": "its memory is above what the cluster gives out",
}
PREFIXES = (
    ("QOSMax", "a limit of its QOS is reached"),
    ("QOSGrp", "its QOS has used up what it may hold at once"),
    ("QOSMin", "it asks for less than its QOS demands"),
    ("QOSUsage", "its QOS is over its usage threshold"),
    ("AssocMax", "a limit of its account is reached"),
    ("AssocGrp", "its account has used up what it may hold at once"),
    ("MaxNodePer", "the account's node limit is reached"),
    ("MaxJobPer", "the account's job limit is reached"),
    ("MaxCpuPer", "the account's processor limit is reached"),
    ("ReqNodeNotAvail", WAITS["ReqNodeNotAvail"]),
    ("Nodes required", WAITS["Nodes_required_for_job_are_DOWN"]),
)
NEVER = {
    "PartitionTimeLimit": "its time limit is beyond its partition's",
    "PartitionNodeLimit": "it needs more nodes than its partition gives to one job",
    "PartitionConfig": "its partition cannot hold it",
    "BadConstraints": "no node of the cluster satisfies what it asks for",
    "InvalidAccount": "its account is not known to the cluster",
    "InvalidQOS": "its QOS is not known, or not open to it",
    "QOSNotAllowed": "its QOS may not use this partition",
    "AccountNotAllowed": "its account may not use this partition",
    "DeadLine": "it cannot end before its deadline",
    "QOSMaxWallDurationPerJobLimit": "its time limit is beyond its QOS's",
    "QOSMaxCpuPerJobLimit": "it asks for more processors than its QOS gives to one job",
    "QOSMaxNodePerJobLimit": "it asks for more nodes than its QOS gives to one job",
    "QOSMaxGRESPerJob": "it asks for more devices than its QOS gives to one job",
    "QOSMaxMemoryPerJob": "it asks for more memory than its QOS gives to one job",
    "AssocMaxWallDurationPerJobLimit": "its time limit is beyond its account's",
    "AssocMaxCpuPerJobLimit": "it asks for more processors than its account gives to one job",
    "AssocMaxNodePerJobLimit": "it asks for more nodes than its account gives to one job",
    "AssocMaxGRESPerJob": "it asks for more devices than its account gives to one job",
    "JobHoldMaxRequeue": "Slurm started it too often",
    "launch failed requeued held": WAITS["launch_failed_requeued_held"],
}
"""Tokens of jobs that would wait for ever."""
NEVER_TEXTS = ("Job's account not ", "Job's QOS not ", "more processors than permitted")
REFUSALS = (
    ("Invalid partition", "the partition is not there"),
    ("invalid partition", "the partition is not there"),
    ("Invalid account", "the account, or its combination with the partition, is not known"),
    ("Invalid qos", "the QOS is not known, or not open to it"),
    ("Requested node configuration", "no node of the cluster is large enough"),
    ("Node count specification", "the partition has too few nodes"),
    ("More processors requested", "no node of the cluster has so many processors"),
    ("Memory required by task", "no node of the cluster has so much memory"),
    ("Memory specification", "no node of the cluster has so much memory"),
    ("Invalid generic resource", "the cluster has no such device"),
    ("Job violates accounting/QOS policy", "a limit of the account or QOS is reached"),
    ("MaxSubmitJobs", "the account has as many jobs waiting as it may"),
    ("QOSMaxSubmitJob", "the QOS has as many jobs waiting as it may"),
    ("AssocMaxSubmitJob", "the account has as many jobs waiting as it may"),
    ("Requested time limit is invalid", "the time limit is beyond the partition's"),
    ("User's group not permitted", "this user may not use the partition"),
    ("Access/permission denied", "this user may not submit there"),
    ("Invalid feature", "the constraint names a feature that no node has"),
    ("Requested reservation", "the reservation cannot be used"),
    ("Job cannot be submitted without", "the cluster demands more than was asked for"),
)
"""Beginnings of Slurm's sentences -> ours."""
SILENT = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Zero Bytes were transmitted",
    "Transport endpoint",
    "Connection refused",
    "Connection timed out",
    "Protocol authentication error",
    "Munge encode failed",
    "Failed to connect to any controller",
    "Slurm backup controller in standby mode",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Unable to connect to database",
    "authentication error",
    "Failed to access socket",
)
"""Words of sentences that say nothing of the job: the cluster itself does not work."""


def waiting(token: str) -> str:
    """Return why a job waits, in words, with Slurm's own token.

    >>> waiting("Resources")
    'it waits in Slurm: the nodes that it needs are busy (Resources)'
    >>> waiting("QOSMaxJobsPerUserLimit")
    'it waits in Slurm: a limit of its QOS is reached (QOSMaxJobsPerUserLimit)'
    """
    if not token:
        return f"it waits in Slurm: {WAITS['None']}"
    plain = token.strip("()")
    words = WAITS.get(plain) or next(
        (said for head, said in PREFIXES if plain.startswith(head)), ""
    )
    return f"it waits in Slurm: {words} ({plain})" if words else f"it waits in Slurm: {plain}"


def never(token: str) -> str:
    """Return why a job would wait for ever, in words; nothing when its turn may come.

    >>> never("PartitionTimeLimit")
    "Slurm would never start it: its time limit is beyond its partition's (PartitionTimeLimit)"
    >>> never("Priority")
    ''
    """
    plain = token.strip("()")
    said = NEVER.get(plain, "")
    if said:
        return f"Slurm would never start it: {said} ({plain})"
    if any(text in plain for text in NEVER_TEXTS):
        return f"Slurm would never start it: {plain}"
    return ""


def refusal(said: str) -> str:
    """Return what a refused submission means: our words, then Slurm's own."""
    last = said.strip().splitlines()[-1] if said.strip() else "no reason given"
    own = last.rpartition("error: ")[2].removeprefix("Batch job submission failed: ")
    words = next((ours for theirs, ours in REFUSALS if theirs in said), "")
    return f"Slurm refused it: {words} ({own})" if words else f"Slurm refused it: {own}"


def is_silent(said: str) -> bool:
    """Say whether an error is the cluster's own trouble rather than an answer."""
    return any(text in said for text in SILENT)


ENDS: dict[str, tuple[FailureClass, str]] = {
    "PREEMPTED": (FailureClass.PREEMPTION, "Slurm preempted it for other work"),
    "TIMEOUT": (FailureClass.LIMIT, "it ran into the time limit that Slurm gave it"),
    "DEADLINE": (FailureClass.LIMIT, "it ran into its deadline in Slurm"),
    "OUT_OF_MEMORY": (FailureClass.LIMIT, "it used more memory than it asked for"),
    "NODE_FAIL": (FailureClass.NODE, "a node of it failed"),
    "BOOT_FAIL": (FailureClass.NODE, "a node of it did not boot"),
    "REVOKED": (FailureClass.ENGINE, "Slurm revoked it"),
    "CANCELLED": (FailureClass.ENGINE, "it was cancelled in Slurm"),
}
"""Slurm's final states that say more than the program's own end -> what they mean."""
