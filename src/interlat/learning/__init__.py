"""What all trainings share: examples and corpora, the loop, losses between branches, sharding, what a run leaves."""
