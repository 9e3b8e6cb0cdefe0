"""Playing items with and without a message, and what may be concluded from it."""
