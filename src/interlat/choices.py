"""The values that settings choose among, for modules that must not import torch to name them."""

from typing import Literal

Encoding = Literal["plain", "int8", "float8"]
"""How a store keeps numbers."""
ExportForm = Literal["jsonl", "json", "parquet", "hf"]
"""Files that a store is exported to."""
TokenizerFamily = Literal["qwen2", "llama"]
"""How a conversation is written: as Qwen 2 does (ChatML) or as Llama 3."""
