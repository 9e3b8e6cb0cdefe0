"""Messages between language-model agents as text, hidden states or KV caches.

The names below are the front door. Each is imported at its first use, so `import interlat` and the help of the
command line need neither torch nor transformers.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlat.agents.agent import Agent as Agent
    from interlat.agents.inspection import Inspection as Inspection
    from interlat.agents.inspection import inspect as inspect
    from interlat.agents.loading import load as load
    from interlat.evaluation.evaluate import evaluate as evaluate
    from interlat.experiments.household.checkpoints import bundled as bundled
    from interlat.messages import CacheMessage as CacheMessage
    from interlat.messages import HiddenMessage as HiddenMessage
    from interlat.messages import TextMessage as TextMessage
    from interlat.messages import load_message as load_message

__version__ = "0.1.0"

# transformers imports torchao where it is installed, which then tells what it could not load for other hardware.
for _noisy in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_noisy).setLevel(logging.ERROR)

_HOMES = {
    "Agent": "interlat.agents.agent",
    "CacheMessage": "interlat.messages",
    "HiddenMessage": "interlat.messages",
    "Inspection": "interlat.agents.inspection",
    "TextMessage": "interlat.messages",
    "bundled": "interlat.experiments.household.checkpoints",
    "evaluate": "interlat.evaluation.evaluate",
    "inspect": "interlat.agents.inspection",
    "load": "interlat.agents.loading",
    "load_message": "interlat.messages",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'interlat' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
