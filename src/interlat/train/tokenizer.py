"""A byte-level BPE tokenizer with a ChatML template, trained on the texts of a world.

Splitting is lossless. A word together with the number behind it (" drawer 3") is one unit before merging, so that a
frequent place or object is one token: one state of the sender then holds the whole belief about a place.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from interlat.errors import InputError

UNIT_PATTERN = r" ?\p{L}+ \p{N}+| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"
END_OF_TURN = "<|im_end|>"
START_OF_TURN = "<|im_start|>"
PADDING = "<|endoftext|>"
CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(
    texts: Iterable[str], vocabulary_size: int, extra_special_tokens: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on ``texts``.

    Args:
        texts: the training texts; order does not matter for the result beyond ties.
        vocabulary_size: upper bound of the number of tokens, specials included.
        extra_special_tokens: further tokens that are never split, such as ``<bop>`` and ``<eop>``.

    Returns:
        A fast tokenizer in the Hugging Face layout with a ChatML template; ``<|im_end|>`` ends a turn.

    Raises:
        InputError: the vocabulary cannot hold the 256 bytes and the special tokens.
    """
    specials = [PADDING, START_OF_TURN, END_OF_TURN, *extra_special_tokens]
    if vocabulary_size < 256 + len(specials):
        raise InputError(
            f"vocabulary_size is {vocabulary_size}, but bytes and special tokens need {256 + len(specials)}; raise it"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(UNIT_PATTERN), behavior="isolated"),
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
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        additional_special_tokens=list(extra_special_tokens),
        chat_template=CHATML_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
