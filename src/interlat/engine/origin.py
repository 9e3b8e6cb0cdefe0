"""Which model made a cache, and what another model would read differently in it."""

import dataclasses
import functools
import json
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from interlat.engine.checkpoint import first_line, load_model_config, load_tokenizer
from interlat.engine.fingerprint import loaded_fingerprint, tokenizer_fingerprint, weights_fingerprint
from interlat.engine.rotary import original_length
from interlat.errors import CheckpointError

UNREAD = re.compile(
    r"_.*|architectures|auto_map|.*dtype|transformers_version|use_cache|return_dict|output_\w+|problem_type|id2label"
    r"|label2id|vocab_size|.*_token_id|.*dropout|.*pdrop|initializer_range|pretraining_tp|tie_word_embeddings"
    r"|quantization_config|chunk_size_feed_forward|gradient_checkpointing|is_encoder_decoder"
)
"""Fields of configurations that say nothing about what a key or a value means."""
SHOWN = 3
"""Differences that an error names."""
LayerShape = tuple[int, int, int, int]
"""Heads and size of the keys of a layer, heads and size of its values."""


def shape_text(shapes: Sequence[LayerShape], hidden_size: int) -> str:
    """The shape of a cache in words."""
    if len(set(shapes)) == 1 and shapes[0][:2] == shapes[0][2:]:
        heads, size = shapes[0][:2]
        return f"{len(shapes)} layers of {heads} heads of size {size} and hidden size {hidden_size}"
    return f"{len(shapes)} layers of {[list(shape) for shape in shapes]} and hidden size {hidden_size}"


def rules_of(config: PretrainedConfig) -> dict[str, Any]:
    """What decides, beside the weights, what keys and values mean: fields of a configuration, flat, as JSON values."""
    fields = config.get_text_config(decoder=True).to_dict()
    # Headers are JSON, which knows no infinity; limits of state-space layers are infinite.
    fields = json.loads(json.dumps(fields, default=str), parse_constant=str)
    flat = dict(_flat(fields))
    by_length = any(str(value) in ("longrope", "dynamic") for value in flat.values())
    return flat if by_length else {name: value for name, value in flat.items() if name != "max_position_embeddings"}


def _flat(fields: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if not UNREAD.fullmatch(name):
            pairs += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]
    return pairs


@dataclasses.dataclass(eq=False)
class Origin:
    """The model that made a cache, as far as another one must know it. Fingerprints are computed when asked for, once.

    Two origins of one model (``alive``) have the same weights, whatever a training made of them.
    """

    name: str
    rules: Mapping[str, Any]
    """See `rules_of`; empty if unknown."""
    weights: Callable[[], str]
    """Gives the fingerprint of its weights; the empty one if unknown."""
    tokenizer: Callable[[], str]
    """The same of its tokenizer."""
    alive: Callable[[], object] = lambda: None
    """Gives the model itself while it is there."""
    original_length: int | None = None
    """See `interlat.engine.rotary.original_length`."""
    layer_count: int = 0
    hidden_size: int = 0
    shapes: tuple[LayerShape, ...] = ()
    """Of its caches, layer by layer; empty while the model is not loaded, which accepts any."""

    @classmethod
    def of_model(
        cls, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, as_loaded: bool = False
    ) -> "Origin":
        """Of a model in memory. It is not kept there: once it is gone, only fingerprints known by then are known.

        ``as_loaded``: it is as its files are, see `interlat.engine.fingerprint.loaded_fingerprint`.
        """
        alive = weakref.ref(model)
        fingerprint = loaded_fingerprint if as_loaded else weights_fingerprint

        def weights() -> str:
            found = alive()
            return "" if found is None else fingerprint(found)

        words = functools.partial(tokenizer_fingerprint, tokenizer)
        config = model.config.get_text_config(decoder=True)
        return cls(
            *(name, rules_of(config), weights, words, alive, original_length(model)),
            *(config.num_hidden_layers, config.hidden_size),
        )

    @classmethod
    def of_checkpoint(cls, place: str) -> "Origin":
        """Of a folder or hub id, without its weights. Raises CheckpointError: there is no model in that place."""

        def words() -> str:
            try:
                return tokenizer_fingerprint(load_tokenizer(place))
            except (OSError, ValueError, KeyError) as error:
                raise CheckpointError(
                    f"cannot read the tokenizer of {place}: {first_line(error)}; save it again"
                ) from error

        config = load_model_config(place)
        return cls(place, rules_of(config), lambda: "", words, layer_count=config.num_hidden_layers)

    @functools.cached_property
    def weights_fingerprint(self) -> str:
        """Of its weights; empty if unknown."""
        return self.weights()

    @functools.cached_property
    def tokenizer_fingerprint(self) -> str:
        """Of its tokenizer; empty if unknown."""
        return self.tokenizer()

    @property
    def label(self) -> str:
        """Its name and the first digits of its weights, for records."""
        return f"{self.name} [{self.weights_fingerprint[:12] or 'unknown weights'}]"

    @property
    def shape(self) -> str:
        """The shape of its caches in words."""
        return shape_text(self.shapes, self.hidden_size)

    def differences(self, other: "Origin", *, weights: bool = True) -> str:
        """What differs from ``other``, this model's value first; empty if nothing does.

        Args:
            other: who made what this one is to read.
            weights: also compare the weights, if nothing else differs: that takes a while for large models.
        """
        if self is other:
            return ""
        found = _differing_rules(self.rules, other.rules)
        mine, theirs = self.tokenizer_fingerprint, other.tokenizer_fingerprint
        if mine and theirs and mine != theirs:
            found.append("another tokenizer or chat template")
        if not found and weights and not self._is_same_model(other):
            mine, theirs = (one.weights_fingerprint for one in (self, other))
            if not mine or mine != theirs:
                found.append(f"weights {mine[:12] or 'unknown'} against {theirs[:12] or 'unknown'}")
        return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")

    def _is_same_model(self, other: "Origin") -> bool:
        return self.alive() is not None and self.alive() is other.alive()


def _differing_rules(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """By name; a field that only one version of a configuration knows says nothing, unless it is about rotation."""
    if mine.get("model_type") != theirs.get("model_type") and mine and theirs:
        return [f"architecture {mine.get('model_type')} against {theirs.get('model_type')}"]
    names = [name for name in mine if name in theirs]
    if mine and theirs:
        names += sorted(name for name in set(mine) ^ set(theirs) if name.startswith("rope_parameters."))
    # Rotation first: it is what most often differs.
    names.sort(key=lambda name: not name.startswith("rope"))
    return [
        f"{name} {mine.get(name)} against {theirs.get(name)}" for name in names if mine.get(name) != theirs.get(name)
    ]
