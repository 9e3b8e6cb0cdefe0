"""Channels: the ways to send a message from a sender to a receiver."""
