"""The values that settings choose among, for modules that must not import torch to name them."""

from typing import Literal

Norm = Literal["post", "pre"]
"""Whether states are taken after or before the final norm."""
Offset = Literal["predicting", "consuming"]
"""Whether a state predicted its token, or had just read it."""
Encoding = Literal["plain", "int8", "float8"]
"""How a store keeps numbers."""
ExportForm = Literal["jsonl", "json", "parquet", "hf"]
"""Files that a store is exported to."""
TokenizerFamily = Literal["qwen2", "llama"]
"""How a conversation is written: as Qwen 2 does (ChatML) or as Llama 3."""
