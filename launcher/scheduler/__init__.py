"""The only room that starts sbatch, squeue, sacct and sinfo, or processes on this machine."""

from launcher.scheduler.base import Job, JobStatus, Scheduler

__all__ = ["Job", "JobStatus", "Scheduler"]
