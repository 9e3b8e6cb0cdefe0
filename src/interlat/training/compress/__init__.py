"""Training a sender to emit a few latents for a frozen receiver."""
