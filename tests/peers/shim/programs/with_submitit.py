"""A job, an array of jobs, and one that fails, as submitit's own documentation has them."""

import submitit


def add(a: int, b: int) -> int:
    if a < 0:
        raise ValueError("negative")
    return a + b


def place() -> tuple[int, int, int]:
    env = submitit.JobEnvironment()
    return env.num_tasks, env.global_rank, env.local_rank


if __name__ == "__main__":
    executor = submitit.AutoExecutor(folder="logs", cluster="slurm")
    executor.update_parameters(timeout_min=3, mem_gb=0.25, slurm_array_parallelism=2)
    one = executor.submit(add, 3, 4)
    many = executor.map_array(add, [1, 2, 3], [10, 20, 30])
    bad = executor.submit(add, -1, 1)
    executor.update_parameters(tasks_per_node=2)
    gang = executor.submit(place)
    assert one.result() == 7
    assert [job.result() for job in many] == [11, 22, 33]
    assert {job.job_id.split("_")[1] for job in many} == {"0", "1", "2"}
    assert "negative" in str(bad.exception())
    assert gang.results() == [(2, 0, 0), (2, 1, 1)]
    assert "Job completed successfully" in one.stdout()
    one.watcher.update()
    assert one.state in ("RUNNING", "COMPLETED"), one.state
    print("submitit is content")
