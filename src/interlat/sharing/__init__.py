"""Sharing over the Hugging Face hub: agents, connectors and latent stores, checked on both sides of the way."""
