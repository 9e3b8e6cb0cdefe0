"""What each example reads, by the settings and by chance."""

import random

import pytest
import torch

from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.experiments.household.corpus import household_corpus
from interlat.experiments.household.episodes import read_episodes
from interlat.store.index import Entry
from interlat.training.branches import as_long_as
from interlat.training.corpus import Corpus
from interlat.training.examples import Mixed, ids_of
from interlat.training.loss_weights import BranchWeights
from interlat.training.messages import StoredMessages
from interlat.training.options import Curriculum
from interlat.training.reading import BranchSource, cut
from interlat.training.settings import TrainActor

NONE, WHOLE = BranchWeights(), Curriculum()


def reading_of(message, none_share=0.15, prefix_share=0.25, losses=NONE, curriculum=WHOLE):
    return TrainActor(
        "", "episodes.jsonl", message, ("thoughts",), none_share=none_share, prefix_share=prefix_share, losses=losses,
        curriculum=curriculum, tokenizer="tokenizer",
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts(pipeline):
    chat = ChatFormat(load_tokenizer(str(pipeline.root / "tokenizer")))
    corpus = household_corpus(read_episodes(pipeline.episodes), chat, validation_share=0.4)
    return corpus, StoredMessages([str(pipeline.thoughts)]), chat


def test_a_curriculum_ends_with_whole_messages(parts):
    corpus, thoughts, chat = parts
    reading = reading_of("latent", 0.0, 0.0, BranchWeights(plan_distillation=0.1), Curriculum("uniform"))
    source = BranchSource(reading, *parts)
    for progress, whole in ((0.0, False), (0.9, True)):
        rng = random.Random(0)
        branches = [source.branch(example, rng, progress) for example in corpus.training]
        assert all(b.own.taken == len(b.own.rows) and not b.own.words for b in branches) == whole
        assert all(b.plan == ids_of(thoughts.text(b.example.item, rng), chat) for b in branches)


def test_a_validation_gets_whole_messages_whatever_the_training_gets(parts):
    corpus, thoughts, _ = parts
    source = BranchSource(reading_of("latent", 1.0, 1.0, curriculum=Curriculum("linear")), *parts)
    for example in corpus.validation:
        own = source.branch(example, random.Random(0)).own
        assert torch.equal(own.rows, thoughts.states(example.item)) and own.taken == len(own.rows) and not own.words


def test_shares_are_those_asked_for(parts):
    corpus, thoughts, _ = parts
    source, rng = BranchSource(reading_of("latent", 0.3, 0.5), *parts), random.Random(0)
    example = corpus.training[0]
    branches = [source.branch(example, rng, 0.0) for _ in range(2000)]
    rows = thoughts.rows(example.item)
    without = sum(b.own is None for b in branches) / 2000
    cut = sum(b.own is not None and len(b.own) < rows for b in branches) / 2000
    assert without == pytest.approx(0.3, abs=0.04)
    assert cut == pytest.approx(0.7 * 0.5 * (rows - 1) / rows, abs=0.04)


def test_a_message_in_words_has_no_thoughts_but_a_mixed_one_has_a_word_for_each_row(parts, monkeypatch):
    corpus, _, chat = parts
    said, plan = "put apple", "<think>the shelf?</think>put apple"
    monkeypatch.setattr(StoredMessages, "_entry", lambda self, item, rng: Entry(item, plan=plan))
    example = corpus.training[0]
    reading = reading_of("text", 0.0)
    assert BranchSource(reading, *parts).branch(example, random.Random(0), 0.0).own == ids_of(said, chat)
    mixed = reading_of("latent", 0.0, 0.0, BranchWeights(plan_distillation=0.1), Curriculum("uniform"))
    assert BranchSource(mixed, *parts).branch(example, random.Random(0), 0.0).plan == ids_of(plan, chat)


def test_control_tokens_in_words_are_words_unless_allowed(parts, monkeypatch):
    corpus, _, chat = parts
    plan = "put <eop> apple"
    monkeypatch.setattr(StoredMessages, "_entry", lambda self, item, rng: Entry(item, plan=plan))
    end = chat.tokenizer.convert_tokens_to_ids("<eop>")
    for literal in (True, False):
        source = BranchSource(reading_of("text", 0.0), *parts, literal)
        own = source.branch(corpus.training[0], random.Random(0), 0.0).own
        assert own == ids_of(plan, chat, literal) and (end in own) is not literal


def test_a_negative_is_of_another_game_and_whole(parts):
    corpus, thoughts, _ = parts
    source = BranchSource(reading_of("latent", 0.0, losses=BranchWeights(contrastive=0.5)), *parts)
    trained = {example.item: thoughts.states(example.item) for example in corpus.training}
    for seed, example in enumerate(corpus.training):
        other = source.branch(example, random.Random(seed), 0.0).other
        sources = [item for item, rows in trained.items() if torch.equal(as_long_as(rows, len(other.rows)), other.rows)]
        assert sources and all(corpus.task_of[item] != corpus.task_of[example.item] for item in sources)


def test_exchanged_validation_messages_are_of_other_games(parts):
    corpus, thoughts, _ = parts
    branches = BranchSource(reading_of("latent"), *parts).of_another(corpus.validation, random.Random(0))
    for branch in branches:
        assert isinstance(branch.own, Mixed)
        own = thoughts.states(branch.example.item)
        assert branch.own.rows.shape != own.shape or not torch.equal(branch.own.rows, own)


def test_written_plans_need_a_corpus_that_writes_them(parts):
    corpus, thoughts, chat = parts
    silent = Corpus(corpus.training, corpus.validation, corpus.task_of)
    with pytest.raises(InputError, match="exact belief"):
        BranchSource(reading_of("base"), silent, thoughts, chat)


def ratios(curriculum, progress, count=4000):
    rng = random.Random(0)
    return [curriculum.ratio(progress, rng) for _ in range(count)]


def test_without_a_curriculum_the_message_is_whole():
    assert set(ratios(Curriculum(), 0.0)) == {1.0}


def test_uniform_draws_as_published_and_the_whole_message_takes_over():
    curriculum = Curriculum("uniform")
    first = ratios(curriculum, 0.0)
    assert set(first) == {number / 10 for number in range(1, 11)}
    for number in range(1, 10):
        assert first.count(number / 10) / len(first) == pytest.approx(0.1, abs=0.02)
    shares = [ratios(curriculum, progress).count(1.0) / 4000 for progress in (0.0, 0.2, 0.4, 0.6, 0.79)]
    assert shares == pytest.approx([0.1, 0.325, 0.55, 0.775, 0.989], abs=0.03)
    assert set(ratios(curriculum, 0.8)) == {1.0} == set(ratios(curriculum, 1.0))


def test_linear_raises_its_lower_bound():
    curriculum = Curriculum("linear", full_after=0.5)
    for progress, bound in ((0.0, 0.0), (0.25, 0.5), (0.4, 0.8)):
        drawn = ratios(curriculum, progress)
        assert min(drawn) == pytest.approx(bound, abs=0.01) and max(drawn) == pytest.approx(1.0, abs=0.01)
    assert set(ratios(curriculum, 0.5)) == {1.0}


@pytest.mark.parametrize("rows, words", [(17, 17), (8, 31), (31, 8), (1, 1)])
def test_a_cut_keeps_the_ends(rows, words):
    assert cut(1.0, rows, words) == (rows, words)
    assert cut(0.0, rows, words) == (0, 0)
    assert cut(0.5, 10, 20) == (5, 10)


@pytest.mark.parametrize(
    "settings", [{"kind": "random"}, {"whole_at_start": 1.1}, {"full_after": 0.0}, {"full_after": 1.5}]
)
def test_nonsense_is_refused(settings):
    with pytest.raises(InputError):
        Curriculum(**settings)
