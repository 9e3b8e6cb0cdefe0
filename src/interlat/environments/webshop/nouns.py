"""The nouns of a title, by which the reward tells kinds of products apart."""

import re
from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from interlat.environments.webshop.reward import Nouns

SPACY_MODEL = "en_core_web_lg"
"""The tagger of the published reward; on no package index, `python -m spacy download en_core_web_lg` fetches it."""
WORDS = "words"
_WORD = re.compile(r"[^\W_]+")
_NOT_NOUNS = """
a an and as at by for from in into is it its new non of off on or our per plus than that the this to up use used very
 via with without you your big small large mini long short best great good high low heavy light soft hard
"""
_NO_NOUNS = frozenset(_NOT_NOUNS.split())


def nouns_for(names: Collection[str]) -> tuple[Nouns, str]:
    """How nouns are found, and what it is called.

    Args:
        names: all nouns of the titles, where they are known: other words are none. If it is empty, spaCy tells where
            its model is installed; else every word of a title is taken for a noun, but for numbers and function words.
    """
    if names:
        known = frozenset(names)
        return lambda title: [word for word in words_of(title) if word in known], "listed"
    if find_spec(SPACY_MODEL) is None:
        return lambda title: [word for word in words_of(title) if _could_be_noun(word)], WORDS
    return tagged_nouns(_loaded()), SPACY_MODEL


def words_of(title: str) -> list[str]:
    """The words of a title, in lower case."""
    return _WORD.findall(title.lower())


def tagged_nouns(tagger: Any) -> Nouns:
    """Nouns and names as a spaCy pipeline tags them."""

    @lru_cache(maxsize=100_000)
    def nouns(title: str) -> list[str]:
        return [token.text.lower() for token in tagger(title) if token.pos_ in ("NOUN", "PROPN")]

    return nouns


def _could_be_noun(word: str) -> bool:
    return word not in _NO_NOUNS and not any(letter.isdigit() for letter in word) and len(word) > 1


def _loaded() -> Any:
    import spacy

    return spacy.load(SPACY_MODEL)
