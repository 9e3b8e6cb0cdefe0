"""What runs a language model: prompts as parts, a memory, and prefill, think, decode."""
