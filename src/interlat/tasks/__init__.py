"""What to ask and what the answer should be; one file a benchmark, and the graders. Knows no language model."""
