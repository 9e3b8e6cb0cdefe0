"""Which hidden states a message or a store holds: the words in Python and in YAML, and the older ones in files."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

Norm = Literal["post", "pre"]
"""After ("post") or before ("pre") the final norm."""
StateAt = Literal["before_token", "after_token"]
"""Latent t is the state that predicted token t ("before_token"), or the state that had just read it ("after_token")."""

# Files keep the words of the first edition, so that the bytes and digests of stores and messages do not change.
KEY_IN_FILES = "offset"
IN_FILES: Mapping[StateAt, str] = {"before_token": "predicting", "after_token": "consuming"}
_OF_FILES: Mapping[Any, StateAt] = {old: new for new, old in IN_FILES.items()}


def _present_word(value: Any) -> Any:
    return _OF_FILES.get(value, value) if isinstance(value, str) else value


StateAtSetting = Annotated[StateAt, BeforeValidator(_present_word)]
"""A field of settings that also takes the older words."""


def in_files(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a header, manifest or configuration with the key and the word that files have for ``state_at``."""
    return {
        KEY_IN_FILES if name == "state_at" else name: IN_FILES[value] if name == "state_at" else value
        for name, value in fields.items()
    }


def of_files(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields from a file under their names in Python; the key and the words of either edition are read."""
    names = {KEY_IN_FILES: "state_at"} if "state_at" not in fields else {}
    renamed = {names.get(name, name): value for name, value in fields.items()}
    return {name: _present_word(value) if name == "state_at" else value for name, value in renamed.items()}
