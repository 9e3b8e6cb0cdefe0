"""The text of token ids: special tokens left out, except those that say what is thought and what is said."""

from transformers import PreTrainedTokenizerBase

from interlat.reasoning import marks_among


def text_of(token_ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of ``token_ids`` without special tokens.

    Some tokenizers make special tokens of the marks around thoughts (gpt-oss, Magistral). These stay in the text:
    without them nobody could tell a thought from an answer, see `interlat.reasoning.final_part`.
    """
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    marks = marks_among(special.values())
    if not any(special.get(number) in marks for number in token_ids):
        return str(tokenizer.decode(token_ids, skip_special_tokens=True))
    dropped = {number for number in {*special, *tokenizer.all_special_ids} if special.get(number) not in marks}
    kept = [number for number in token_ids if number not in dropped]
    return str(tokenizer.decode(kept, skip_special_tokens=False))
