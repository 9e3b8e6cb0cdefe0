"""Controls: altered messages that carry less information. They show whether a gain comes from a message's content."""
