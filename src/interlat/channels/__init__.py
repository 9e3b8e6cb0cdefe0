"""Channels: what travels from a sender to a receiver."""
