"""What runs a language model: prompts as parts, a cache, and prefill, think, decode."""
