"""How the losses of samples weigh, and the shape of the other message."""

import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.experiments.household.corpus import household_corpus
from interlat.experiments.household.episodes import read_episodes
from interlat.store.index import Entry
from interlat.training.branches import Branch, BranchSource, Negatives, as_long_as, cut, other_message
from interlat.training.corpus import Corpus, StoredMessages
from interlat.training.examples import Example, Mixed, ids_of
from interlat.training.fused_losses import LN2
from interlat.training.loss_weights import BranchWeights
from interlat.training.options import Curriculum
from interlat.training.settings import TrainActor

EXAMPLE = Example((1, 2), (3, 4), (-100, 4), (1.0, 1.0))


def test_adaptive_weights_follow_each_sample_and_have_no_gradient():
    losses = torch.tensor([0.0, 0.345, 0.69, 5.0, float("inf")], requires_grad=True)
    adaptive, fixed = BranchWeights(0.5, adaptive=True), BranchWeights(0.5)
    weighted = adaptive.weighted(adaptive.terms[0], losses)
    expected = [0.01, 0.01 + 0.49 / 2, 0.5, 0.5, 0.5]
    assert weighted[1:4].tolist() == pytest.approx([w * v for w, v in zip(expected, losses.tolist(), strict=True)][1:4])
    weighted[:4].sum().backward()
    assert losses.grad[:4].tolist() == pytest.approx(expected[:4])
    assert fixed.weighted(fixed.terms[0], losses)[3].item() == 2.5


def test_the_published_weights():
    assert BranchWeights.published() == BranchWeights(0.5, 0.05, adaptive=True)


def test_the_other_message_has_the_shape_of_the_own_one():
    rows, other = torch.randn(9, 4), torch.randn(5, 4)
    made = other_message(Mixed(rows, 4, (7, 8)), other, (1, 2, 3))
    assert (made.rows.shape, made.taken, made.words) == ((9, 4), 4, (2, 3))
    assert torch.equal(made.rows[5:], other[:4])
    assert other_message(Mixed(rows, 4, (7, 8, 9, 9)), other, (1, 2)).words == (1, 2, 1, 2)
    assert other_message(Mixed(rows, 4, (7, 8, 9)), other, (1, 2)).words == (2, 1, 2)
    assert other_message(Mixed(rows, 9), other).words == ()


def test_latent_is_what_reads_a_latent_row():
    rows = torch.randn(3, 4)
    messages = [None, (1, 2), Mixed(rows, 0, (5,)), Mixed(rows, 1, (5,)), Mixed(rows, 3)]
    assert [Branch(EXAMPLE, message).is_latent for message in messages] == [False, False, False, True, True]


@pytest.mark.parametrize(
    "settings",
    [{"contrastive": -1.0}, {"plan_distillation": -1}, {"margin": LN2 + 1e-3}, {"margin": 0.0}, {"kl_share": 2.0}],
)
def test_nonsense_is_refused(settings):
    with pytest.raises(InputError):
        BranchWeights(**settings)


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=20).filter(lambda t: len(set(t)) > 1), st.integers(0, 9))
def test_nobody_gets_a_message_of_its_own_task(tasks, seed):
    task_of = {str(number): task for number, task in enumerate(tasks)}
    negatives, rng = Negatives(list(task_of), task_of), random.Random(seed)
    for item, task in task_of.items():
        assert task_of[negatives.of(item, rng)] != task


def test_every_sample_of_another_task_is_as_likely():
    negatives, rng = Negatives("01234", dict(zip("01234", "aabcc", strict=True))), random.Random(0)
    drawn = Counter(negatives.of("1", rng) for _ in range(3000))
    assert set(drawn) == {"2", "3", "4"} and min(drawn.values()) > 900


@pytest.mark.parametrize("tasks", [[], ["a"], ["a", "a"]])
def test_one_task_has_no_negatives(tasks):
    with pytest.raises(InputError, match="one task"):
        Negatives([str(number) for number in range(len(tasks))], dict(enumerate(tasks)) | {"0": "a", "1": "a"})


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_length_is_matched_without_noise(rows):
    message = torch.arange(6.0).reshape(3, 2)
    matched = as_long_as(message, rows)
    assert matched.tolist() == [message[row % 3].tolist() for row in range(rows)]


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
def test_a_curriculum_without_sense_is_refused(settings):
    with pytest.raises(InputError):
        Curriculum(**settings)
