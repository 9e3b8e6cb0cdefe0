"""The training stage: small models from scratch, and actors that learn to read messages."""
