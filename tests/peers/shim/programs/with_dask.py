"""A cluster of one worker, scaled up and given back."""

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    with SLURMCluster(
        cores=1, memory="512MiB", processes=1, walltime="00:05:00", log_directory="logs"
    ) as cluster:
        cluster.scale(jobs=1)
        with Client(cluster) as client:
            client.wait_for_workers(1, timeout=100)
            squares = client.map(lambda x: x * x, range(10))
            assert sum(client.gather(squares)) == 285
    print("dask is content")
