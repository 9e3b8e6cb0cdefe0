import dataclasses

import pytest

from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.hf import Engine
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.teams.runner import Teamwork
from interlat.teams.team import Team
from interlat.teams.topologies import ROLES, TeamOptions, make_team
from interlat.teams.turns import Question

FORMAT = "Write the number alone in the last line."
OPTIONS = TeamOptions(answer_format=FORMAT, latent_steps=2, sampling=Sampling(max_new_tokens=4))
TOPOLOGIES = ["single", "review", "sequential", "hierarchical", "chained", "debate"]
IN_WORDS = "What your colleagues wrote:\n\n{messages}\n\n"
IN_MEMORY = "What your colleagues worked out is in your memory, not in words.\n\n"


def team(topology, **changes):
    return make_team(dataclasses.replace(OPTIONS, topology=topology, **changes))


def inputs_of(team):
    return {member.name: member.inputs for member in team.members}


def test_the_inputs_of_each_member():
    """D15 of the released LatentMAS: there the experts who think are a chain, those who write are not."""
    assert inputs_of(team("single")) == {"solver": ()}
    assert inputs_of(team("sequential")) == {
        "planner": (),
        "critic": ("planner",),
        "refiner": ("critic",),
        "judger": ("refiner",),
    }
    assert inputs_of(team("sequential", method="text")) == {
        "planner": (),
        "critic": ("planner",),
        "refiner": ("planner", "critic"),
        "judger": ("planner", "critic", "refiner"),
    }
    assert inputs_of(team("review")) == {"planner": (), "reviser": ("planner",), "judger": ("reviser",)}
    assert inputs_of(team("review", method="text"))["judger"] == ("planner", "reviser")
    experts = ("mathematician", "scientist", "programmer")
    for method in ("text", "latents"):
        assert inputs_of(team("hierarchical", method=method)) == dict.fromkeys(experts, ()) | {"summariser": experts}
    assert inputs_of(team("chained"))["scientist"] == ("mathematician",)
    debate = inputs_of(team("debate", agents=2, rounds=2))
    first, second = (tuple(f"debater {n}, round {r}" for n in (1, 2)) for r in (1, 2))
    assert debate == dict.fromkeys(first, ()) | dict.fromkeys(second, first) | {"judger": second}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_words_and_latents_are_asked_the_same(topology):
    """D15 of the released LatentMAS: there what is compared differs in its prompts, too."""
    words, latents = team(topology, method="text"), team(topology, method="latents")
    assert [member.name for member in words.members] == [member.name for member in latents.members]
    for mine, theirs in zip(words.members, latents.members, strict=True):
        assert mine.prompt.replace(IN_WORDS, IN_MEMORY) == theirs.prompt
        assert mine.prompt.startswith("Question: {question}\n\n") and "{heard}" not in mine.prompt
        assert (FORMAT in mine.prompt) == (mine is words.final_agent)
        assert (IN_WORDS in mine.prompt) == bool(mine.inputs)
    assert all(member.output == "text" for member in words.members)
    assert [member.output for member in latents.members] == ["latents"] * (len(latents.members) - 1) + ["text"]


@pytest.mark.parametrize("method", ["text", "latents"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_conversation_says_the_question_where_it_begins(topology, method):
    made = team(topology, method=method, layout="conversation")
    assert inputs_of(made) == inputs_of(team(topology, method=method))
    for member in made.members:
        assert member.layout == "conversation" and member.reads_turns and "{heard}" not in member.prompt
        assert member.prompt.startswith("Question: {question}\n\n") == ("{question}" in member.prompt)
        assert ("{question}" in member.prompt) == (not member.inputs)
        assert (FORMAT in member.prompt) == (member is made.final_agent)
    alone = team(topology, method=method, layout="conversation", cache_transfer="nothing")
    for member, spoken in zip(alone.members, made.members, strict=True):
        assert member.prompt == (spoken.prompt if method == "text" or not spoken.inputs else asked(spoken.prompt))


def asked(prompt):
    return f"Question: {{question}}\n\n{prompt}"


def test_prompts_of_a_conversation_can_be_replaced_too():
    own = team("sequential", layout="conversation", prompts={"critic": "{heard}What about {question}?"})
    assert own.member("critic").prompt == "What about {question}?"
    assert own.final_agent.prompt == f"Now solve the question by the plan. Reason step by step. {FORMAT}"


@pytest.mark.parametrize("topology", TOPOLOGIES[1:])
def test_the_first_may_write(topology):
    mixed = team(topology, first_writes=True)
    assert [member.output for member in mixed.members[:2]] == ["text", "latents"]
    for member in mixed.members:
        hears = mixed.members[0].name in member.inputs
        assert ("{messages}" in member.prompt) == hears
        assert (IN_MEMORY in member.prompt) == (len(member.inputs) > hears)


def test_prompts_can_be_replaced_and_braces_mean_nothing_else():
    own = {"critic": "{heard}Is {question} a set {x | x > 0}?", "judger": "{question} {format} {}"}
    made = team("sequential", prompts=own)
    assert made.member("critic").prompt == f"{IN_MEMORY}Is {{question}} a set {{x | x > 0}}?"
    assert made.final_agent.prompt == f"{{question}} {FORMAT} {{}}"
    with pytest.raises(InputError, match="there is no role 'cook'; prompts can be given for solver, planner"):
        team("sequential", prompts={"cook": ""})
    with pytest.raises(InputError, match="the text of planner would be lost"):
        team("sequential", method="text", prompts={"critic": "{question}"})


@pytest.mark.parametrize("changes", [{"agents": 0}, {"rounds": 0}])
def test_debates_of_nobody_are_refused(changes):
    with pytest.raises(InputError, match="a debate of"):
        team("debate", **changes)


def test_roles_are_told_something_of_their_own():
    assert len(set(ROLES.values())) == len(ROLES) - 1, "judger and summariser alone are told the same"


@pytest.mark.parametrize("layout", ["chained", "conversation"])
@pytest.mark.parametrize("method", ["text", "latents"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_they_work(topology, method, layout, build_model, make_tokenizer):
    engine = Engine.wrap(build_model("qwen3", max_position_embeddings=4096), make_tokenizer("chatml"))
    align = NormMatchedIdentity.of_embeddings(engine.model.get_input_embeddings().weight)
    made: Team = team(topology, method=method, layout=layout)
    done = list(
        Teamwork(made, {"": engine}, {"": align}, batch_size=2).run([Question("a", "1 + 1?"), Question("b", "2?")])
    )
    assert {one.question.key for one in done} == {"a", "b"} and not any(one.failure for one in done)
    for one in done:
        assert list(one.turns) == [member.name for member in made.members]
