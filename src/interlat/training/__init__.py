"""Training of receivers and senders."""
