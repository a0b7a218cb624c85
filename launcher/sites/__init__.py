"""What a site is: found out by asking its SLURM, written as a profile, used to start Python."""
