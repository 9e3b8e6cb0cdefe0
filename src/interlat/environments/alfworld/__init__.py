"""ALFWorld: the household games."""
