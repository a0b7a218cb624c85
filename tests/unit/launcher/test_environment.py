"""What a job around a command left in its environment."""

from launcher.scheduler.base import outside_of_jobs


def test_what_belongs_to_a_surrounding_job_goes_and_the_rest_stays() -> None:
    job = ("SLURM_NTASKS", "SBATCH_PARTITION", "SRUN_CPUS_PER_TASK", "SUBMITIT_EXECUTOR")
    ranks = ("MASTER_ADDR", "RANK", "WORLD_SIZE", "GROUP_RANK", "TORCHELASTIC_RUN_ID")
    ours = ("LAUNCHER_RANK", "LAUNCHER_PORT")
    kept = {"PATH": "/bin", "HOME": "/me", "NCCL_DEBUG": "INFO", "SLURM_CONF": "/etc/slurm.conf"}
    inherited = dict.fromkeys((*job, *ranks, *ours), "1") | kept
    assert outside_of_jobs(inherited, keep=("SLURM_CONF",)) == kept
