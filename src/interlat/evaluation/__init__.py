"""What channels are worth, with controls."""
