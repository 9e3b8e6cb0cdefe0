"""Controls: messages that say less than the real one, so that a gain can be put down to what the message says."""
