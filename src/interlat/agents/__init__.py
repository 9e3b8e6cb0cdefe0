"""An agent is a role, a prompt, an engine and, for a receiver of hidden messages, an adapter."""
