"""Scout and actor in small ALFWorld rooms: the experiment that comes with the package."""
