import random

import pytest
from interlat.training.curriculum import Curriculum, cut

from interlat.errors import InputError


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
