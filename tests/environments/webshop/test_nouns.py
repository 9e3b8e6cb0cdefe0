from types import SimpleNamespace

from interlat.environments.webshop import nouns as module
from interlat.environments.webshop.nouns import nouns_for, tagged_nouns, words_of


def test_listed_nouns_are_found_in_any_case_as_often_as_they_are_there():
    nouns, how = nouns_for(["bowl", "lid"])
    assert (nouns("Blue Bowl with LID, bowl-shaped"), how) == (["bowl", "lid", "bowl"], "listed")


def test_without_a_tagger_every_word_but_numbers_and_function_words_counts(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    nouns, how = nouns_for(())
    assert (nouns("The Bowl for Soup, 2pcs x 3 (Blue)"), how) == (["bowl", "soup", "blue"], "words")


def test_a_tagger_tells_nouns_and_names():
    kinds = {"Hob": "PROPN", "bowl": "NOUN", "holds": "VERB"}
    calls = []

    def tagger(title):
        calls.append(title)
        return [SimpleNamespace(text=word, pos_=kinds.get(word, "X")) for word in title.split()]

    nouns = tagged_nouns(tagger)
    assert nouns("Hob bowl holds soup") == nouns("Hob bowl holds soup") == ["hob", "bowl"] and len(calls) == 1


def test_an_installed_tagger_is_taken(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setattr(module, "_loaded", lambda: lambda title: [SimpleNamespace(text="Cap", pos_="NOUN")])
    nouns, how = nouns_for(())
    assert (nouns("Red Cap"), how) == (["cap"], "en_core_web_lg")


def test_words_have_letters_or_digits():
    assert words_of("Mini-Bowl, 2_pcs. Café") == ["mini", "bowl", "2", "pcs", "café"]
