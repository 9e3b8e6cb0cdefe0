"""What `python -m benchmarks` measures: always a ratio against the plain implementation, in the same run."""
