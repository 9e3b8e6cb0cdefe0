"""A byte-level BPE tokenizer with the chat template of a family, trained on the texts of a world.

Splitting is lossless. For games, a word together with the number behind it (" drawer 3") is one unit before merging, so
that a frequent place or object is one token: one state of the sender then holds the whole belief about a place.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from interlat.choices import TokenizerFamily as Family
from interlat.errors import InputError

WORD_PATTERN = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"
NUMBERED_PATTERN = r" ?\p{L}+ \p{N}+|" + WORD_PATTERN
CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


class _Style(NamedTuple):
    """How the conversations of a family are written."""

    specials: tuple[str, ...]
    """Its special tokens; the first one is padding, the second begins a text or a turn."""
    end_of_turn: str
    template: str
    begins_text: bool
    """Whether a token stands before the first turn."""


_STYLES: dict[Family, _Style] = {
    "qwen2": _Style(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", CHATML_TEMPLATE, False),
    "llama": _Style(
        ("<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        LLAMA3_TEMPLATE,
        True,
    ),
}


def train_tokenizer(
    texts: Iterable[str],
    vocabulary_size: int,
    extra_special_tokens: tuple[str, ...] = (),
    family: Family = "qwen2",
    numbered: bool = True,
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on ``texts``.

    Args:
        texts: the training texts; order does not matter for the result beyond ties.
        vocabulary_size: upper bound of the number of tokens, specials included.
        extra_special_tokens: further tokens that are never split, such as ``<bop>`` and ``<eop>``.
        family: how a conversation is written: "qwen2" is ChatML, "llama" that of Llama 3.
        numbered: let a word and the number behind it be one token, as names of places are; not where one calculates.

    Returns:
        A fast tokenizer in the Hugging Face layout with the family's chat template.

    Raises:
        InputError: the vocabulary cannot hold the 256 bytes and the special tokens.
    """
    style = _STYLES[family]
    specials = [*style.specials, *extra_special_tokens]
    if vocabulary_size < 256 + len(specials):
        raise InputError(
            f"vocabulary_size is {vocabulary_size}, but bytes and special tokens need {256 + len(specials)}; raise it"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(NUMBERED_PATTERN if numbered else WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=style.specials[1] if style.begins_text else None,
        eos_token=style.end_of_turn,
        pad_token=style.specials[0],
        additional_special_tokens=list(extra_special_tokens),
        chat_template=style.template,
        clean_up_tokenization_spaces=False,
    )
