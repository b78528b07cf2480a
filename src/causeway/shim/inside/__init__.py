"""Shell texts that go along with a job: `wrapper.sh` around its script, `srun.sh` and `scontrol.sh`
as the commands that the script finds. They need bash, GNU coreutils and find at the island."""
