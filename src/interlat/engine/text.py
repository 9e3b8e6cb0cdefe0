"""The text of token ids: special tokens left out, except those that say what is thought and what is said."""

from transformers import PreTrainedTokenizerBase

from interlat.engine.control_tokens import control_tokens


def text_of(token_ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of ``token_ids`` without special tokens.

    Some tokenizers make special tokens of the marks around thoughts (gpt-oss, Magistral). These stay in the text:
    without them nobody could tell a thought from an answer, see `interlat.reasoning.final_part`.
    """
    known = control_tokens(tokenizer)
    if known.marks_of_thoughts.isdisjoint(token_ids):
        return str(tokenizer.decode(token_ids, skip_special_tokens=True))
    kept = [number for number in token_ids if number not in known.left_out]
    return str(tokenizer.decode(kept, skip_special_tokens=False))
