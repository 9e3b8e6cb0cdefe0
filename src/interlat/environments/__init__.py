"""Environments show text and take actions."""
