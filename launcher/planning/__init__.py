"""What fits where and when it would finish: partitions and numbers of GPUs side by side."""
