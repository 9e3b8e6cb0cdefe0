"""Generated code is run by one process and judged by another; `interlat.tasks.sandbox.execution` is the way in."""
