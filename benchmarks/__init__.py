"""What `interlat bench` measures: always a ratio against the plain implementation, in the same run."""
