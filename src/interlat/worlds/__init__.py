"""Environments that agents act in; no torch in here."""
