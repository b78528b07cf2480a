"""A job that ends well, one that fails, one that is cancelled, one that is attached to."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import psij

WAIT = timedelta(seconds=100)


def ended(executor: psij.JobExecutor, executable: str, *arguments: str, **more: Any) -> psij.Job:
    job = psij.Job(
        psij.JobSpec(executable=executable, arguments=list(arguments), directory=Path.cwd(), **more)
    )
    executor.submit(job)
    return job


if __name__ == "__main__":
    executor = psij.JobExecutor.get_instance("causeway")
    good = ended(
        executor, "/bin/sh", "-c", "echo hello $NAME; echo made > made.txt",
        environment={"NAME": "you"}, stdout_path="out.txt", stderr_path="err.txt",
        attributes=psij.JobAttributes(duration=timedelta(minutes=2)),
    )  # fmt: skip
    bad = ended(executor, "/bin/sh", "-c", "exit 3")
    many = ended(
        executor, "/bin/sh", "-c", "echo task $SLURM_PROCID", stdout_path="many.txt",
        launcher="multiple", resources=psij.ResourceSpecV1(process_count=2),
    )  # fmt: skip
    stopped = ended(executor, "/bin/sleep", "600")
    stopped.cancel()
    assert good.wait(WAIT).state == psij.JobState.COMPLETED, good.status
    assert Path("out.txt").read_text() == "hello you\n"
    assert Path("made.txt").read_text() == "made\n"
    assert bad.wait(WAIT).state == psij.JobState.FAILED, bad.status
    assert bad.status.exit_code == 3
    assert many.wait(WAIT).state == psij.JobState.COMPLETED, many.status
    assert sorted(Path("many.txt").read_text().splitlines()) == ["task 0", "task 1"]
    assert stopped.wait(WAIT).state == psij.JobState.CANCELED, stopped.status
    again = psij.Job()
    executor.attach(again, good.native_id)
    assert again.wait(WAIT).state == psij.JobState.COMPLETED
    print("psij is content")
