import pytest

from benchmarks.team import SIDES, Shape
from benchmarks.team_play import play, prompts_of

SHAPE = Shape(10, 12, 8, 5, 128, 2, 300, latent_steps=3, members=4)


def test_all_sides_write_the_same():
    found = {side: play(side, SHAPE) for side in SIDES}
    assert found["ours"]["tokens"] == found["rows"]["tokens"] == found["batch"]["tokens"]
    assert [len(tokens) for tokens in found["shared"]["tokens"]] == [SHAPE.written] * SHAPE.questions
    assert len({tuple(tokens) for tokens in found["ours"]["tokens"]}) > 1, "questions must make a difference"
    assert all(one["items_per_second"] > 0 for one in found.values())


@pytest.mark.parametrize("member", range(4))
def test_prompts_begin_with_the_question(member):
    prompts = prompts_of(SHAPE)
    assert len(prompts) == SHAPE.questions
    for question in prompts:
        assert question[member][: SHAPE.question] == question[0][: SHAPE.question]
        assert len(question[member]) == SHAPE.prompt
    assert len({tuple(question[member][: SHAPE.question]) for question in prompts}) == SHAPE.questions
