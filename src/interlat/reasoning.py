r"""What a model says and what it only thinks: where the thoughts in a reply end.

Marks that are read, and models that write them:

- ``<think>`` (Qwen3, QwQ, DeepSeek-R1 and V3.1, GLM-4.5, Nemotron, Hunyuan, EXAONE 4, SmolLM3, OLMo 3), ``<thought>``
  (EXAONE Deep), ``<thinking>``, ``<reasoning>``, ``<seed:think>`` (Seed-OSS), ``[THINK]`` (Magistral),
  ``\u25c1think\u25b7`` (Kimi-VL), ``<|START_THINKING|>`` (Command A), ``<|begin_of_thought|>`` (OpenThinker),
  ``<|inner_prefix|>`` (Apertus), ``<|channel>thought`` (Gemma 4);
- the channels of gpt-oss (harmony), with their marks, ``<|channel|>final<|message|>``, and run together, as decoders
  that drop special tokens leave them: ``analysis...assistantfinal...``.

Thoughts that only words announce ("Here is my thought process:", Granite 3.2) are not told from an answer.
"""

import re
from collections.abc import Iterable

_PAIRS = (
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
)
_NAMES = r"(?:(?:seed:)?think|thinking|thoughts?|reasoning)>"
_OPEN = "|".join([f"(?i:<{_NAMES})", *(re.escape(opening) for opening, _ in _PAIRS)])
_CLOSE = "|".join([f"(?i:</{_NAMES})", *(re.escape(closing) for _, closing in _PAIRS)])
_CODE = r"^[ \t]*(?P<fence>```+|~~~+)[^\n]*\n.*?(?:^[ \t]*(?P=fence)|\Z)|`[^`\n]+`"

_OPENING = re.compile(_OPEN)
_CLOSING = re.compile(_CLOSE)
_OUTSIDE = re.compile(f"(?P<code>{_CODE})|(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.MULTILINE | re.DOTALL)
_CHANNEL = "<|channel|>"
_CHANNEL_MARKS = frozenset({_CHANNEL, "<|message|>", "<|start|>", "<|end|>", "<|constrain|>", "<|call|>", "<|return|>"})
_FINAL_CHANNEL = re.compile(
    r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(?P<said>.*?)"
    r"(?:<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
# A name in a program that begins so is none: finalPrice = 20, analysisOf(x), commentary_text.strip().
_NO_NAME = r"(?!\w*\s*(?:[-+*/%&|^]?=|\(|\[|\.\w))"
_ANALYSIS = re.compile(rf"\s*(?:assistant)?(?:analysis|commentary)(?=[\w\\]){_NO_NAME}")
_FINAL_ALONE = re.compile(rf"\s*final(?=[A-Z\d\\*]){_NO_NAME}")
_WRAPPED = re.compile(
    r"\s*(?:(?i:<(?P<name>answer|response)>)|<\|START_RESPONSE\|>|<\|begin_of_solution\|>)"
    r"(?P<said>(?:(?!(?i:</?(?:answer|response)>)).)*?)"
    r"(?:(?i:</(?P=name)>)|<\|END_RESPONSE\|>|<\|end_of_solution\|>)\s*",
    re.DOTALL,
)
_OPENED = re.compile(rf"(?:{_OPEN}|<\|channel\|>\s*analysis\s*<\|message\|>)\s*\Z")
_LONGEST_OPENING = 100


def final_part(reply: str) -> str | None:
    """What a reply says behind its thoughts: what is graded, and what other agents get.

    A thought goes from an opening mark to the next closing one, and the final part begins behind the last of them. A
    closing mark without an opening one ends a thought that the prompt began. Marks inside code that is said and not
    thought mean nothing. ``<answer>`` and ``</answer>`` around all that is said are left out.

    Args:
        reply: all that the model wrote, with the opening mark that its prompt ended with (`opened_thought`): without it
            a thought that the prompt began and that never ends cannot be told from an answer.

    Returns:
        The whole reply where there are no thoughts; None where a thought never ends, or no channel is final.
    """
    if _CHANNEL in reply:
        channels = list(_FINAL_CHANNEL.finditer(reply))
        return channels[-1]["said"].strip() if channels else None
    said = _after_thoughts(reply)
    if said is None or (_ANALYSIS.match(said) and "assistantfinal" not in said):
        return None
    if "assistantfinal" in said:
        said = said.rpartition("assistantfinal")[2].strip()
    elif alone := _FINAL_ALONE.match(said):
        said = said[alone.end() :]
    wrapped = _WRAPPED.fullmatch(said)
    return wrapped["said"].strip() if wrapped else said


def opened_thought(prompt: str) -> str:
    r"""The mark at the end of a prompt that makes the reply begin inside a thought, such as ``<think>\n``.

    The templates of DeepSeek-R1 and others write it. It counts to the reply.
    """
    opened = _OPENED.search(prompt[-_LONGEST_OPENING:])
    return opened[0] if opened else ""


def marks_among(special_tokens: Iterable[str]) -> frozenset[str]:
    """Those special tokens of a tokenizer that `final_part` reads, and that a decoder must not drop."""
    known = frozenset(special_tokens)
    marks = {token for token in known if _OPENING.fullmatch(token) or _CLOSING.fullmatch(token)}
    # Outside gpt-oss some of its marks mean something else: <|end|> ends a turn of Phi.
    channels = _CHANNEL_MARKS & known if _CHANNEL in known else frozenset()
    others = {"<|channel>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|begin_of_solution|>", "<|end_of_solution|>"}
    return frozenset(marks | channels | (others & known))


def _after_thoughts(reply: str) -> str | None:
    opening, closing = _OPENING.search(reply), _CLOSING.search(reply)
    inside = closing is not None and (opening is None or closing.start() < opening.start())
    start = place = 0
    while mark := (_CLOSING if inside else _OUTSIDE).search(reply, place):
        place = mark.end()
        if inside or mark["close"]:
            start, inside = place, False
        elif mark["open"]:
            inside = True
    if inside:
        return None
    return reply[start:].strip() if start else reply
