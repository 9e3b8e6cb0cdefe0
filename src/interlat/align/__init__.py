"""From the hidden space of one model into the input space of another; one file a method."""
