"""Connectors: from the states of one model to the inputs of another."""
