"""Experiments use the library; the library knows none of them."""
