"""Conversations of a team against plain `transformers`: whole sequences, one item, a loop of forward calls."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlat import bundled
from interlat.connectors.base import latent_connector
from interlat.engine.hf import Engine
from interlat.engine.options import Sampling
from interlat.engine.prompt import token_ids_of, tokenize
from interlat.errors import InputError, PromptError
from interlat.teams.runner import Teamwork
from interlat.teams.team import Member, Team
from interlat.teams.transfer import save_message, saved_messages
from interlat.teams.turns import Question

SAMPLING = Sampling(max_new_tokens=7)
QUESTIONS = [
    Question("one", "the kettle"),
    Question("two", "put the kettle on the stove, then look into the drawer"),
    Question("three", "is the kettle in the drawer"),
    Question("four", "in {question} {messages} the stove"),
    Question("five", "stove"),
]
TURNS = {"planner": "plan: {question}", "critic": "is it right?", "judger": "{question} so?"}


def conversation(output="latents", cache_transfer="all", **more):
    """Planner, critic and judger in one conversation; who passes its own cache on is read by all later ones."""
    common = {"layout": "conversation", "sampling": SAMPLING}
    senders = {"output": output, "cache_transfer": cache_transfer, "latent_steps": 3, **common, **more}
    everybody = output == "text" or cache_transfer == "own"
    return Team(
        (
            Member("planner", TURNS["planner"], **senders),
            Member("critic", TURNS["critic"], ("planner",), **senders),
            Member("judger", TURNS["judger"], ("planner", "critic") if everybody else ("critic",), **common),
        )
    )


TEAMS = {
    "latents": conversation,
    "latents, own": lambda: conversation(cache_transfer="own"),
    "latents, end": lambda: conversation(end_thought=True, latent_steps=9),
    "words": lambda: conversation("text"),
    "cache of words": lambda: conversation("text", "own"),
    "opened": lambda: conversation("text", "own", opening="the plan"),
    "system": lambda: conversation(system="be brief"),
}


def work(engine, team, questions=QUESTIONS, connector=None, **options):
    teamwork = Teamwork(team, {"": engine}, {"": connector} if connector else {}, keep_latents=True, **options)
    done = {one.question.key: one for one in teamwork.run(questions)}
    assert not any(one.failure for one in done.values())
    return done


def without_seconds(run):
    return {name: dataclasses.replace(turn, seconds=0.0) for name, turn in run.turns.items()}


@torch.no_grad()
def plain_conversation(engine, team, question):
    """Each member in turn: the template's own rendering of the conversation so far, and one input more at a time.

    Returns:
        What each member wrote, the states of its latent steps, and how many positions it read.
    """
    model, tokenizer, table = engine.model, engine.tokenizer, engine.model.get_input_embeddings().weight
    (stop,) = engine.stop_ids
    norm = table.norm(dim=1).mean()
    inputs, written, latents, read = [], {}, {}, {}

    def state():
        output = model(inputs_embeds=torch.stack(inputs)[None], use_cache=False, output_hidden_states=True)
        return output.hidden_states[-1][0, -1], output.logits[0, -1]

    for number, member in enumerate(team.members):
        user = member.prompt.replace("{question}", "\0").replace("\0", question.text)
        turns = [{"role": "system", "content": member.system}] if member.system and not number else []
        turns += [{"role": "user", "content": user}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        text = f"<|im_end|>\n{text}" if number else text
        ids = tokenizer(text + member.opening, add_special_tokens=False)["input_ids"]
        inputs += list(table[ids])
        read[member.name] = len(ids)
        if member.output == "latents":
            states = []
            for _ in range(member.latent_steps):
                before, scores = state()
                if member.end_thought and int(scores.argmax()) == stop:
                    break
                inputs.append(before * norm / before.norm())
                states.append(state()[0])
            latents[member.name] = torch.stack(states) if states else torch.zeros(0, table.shape[1])
            continue
        tokens = []
        while len(tokens) < member.sampling.max_new_tokens and (token := int(state()[1].argmax())) != stop:
            tokens.append(token)
            inputs.append(table[token])
        written[member.name] = tuple(tokens)
    return written, latents, read


def with_stops(model, tokenizer, token):
    """A model that ends its turns now and then: the end of turn gets the row of a token that it expects at times."""
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    with torch.no_grad():
        model.get_output_embeddings().weight[end] = model.get_output_embeddings().weight[token] * 1.01
    return model


@pytest.fixture(scope="module", params=["qwen2", "qwen3", "llama"])
def engine(request, build_model, make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    model = build_model(request.param, tied=False, max_position_embeddings=1024)
    engine = Engine.wrap(model, tokenizer, name=request.param)
    # The likeliest token of some latent step in the middle of a thought.
    done = work(engine, conversation(latent_steps=9))
    tokens = [int(engine.logits(done[key].latents["planner"][3]).argmax()) for key in ("one", "two")]
    return Engine.wrap(with_stops(model, tokenizer, tokens[0]), tokenizer, name=request.param)


@pytest.mark.parametrize("name", TEAMS)
def test_a_conversation_equals_plain_transformers(engine, name):
    team = TEAMS[name]()
    done = work(engine, team, QUESTIONS[:4], batch_size=3)
    for question in QUESTIONS[:4]:
        written, latents, read = plain_conversation(engine, team, question)
        one = done[question.key]
        assert {n: one.turns[n].token_ids for n in written} == written
        assert one.latents.keys() == latents.keys()
        for member, states in latents.items():
            assert one.turns[member].latent_steps == len(states) == one.turns[member].forward_passes - 1
            torch.testing.assert_close(one.latents[member], states, atol=1e-4, rtol=1e-3)
        if name != "words":
            assert {n: turn.prompt_tokens for n, turn in one.turns.items()} == read


def test_thoughts_end_where_the_turn_would_end_and_at_different_steps(engine):
    steps = [one.turns["planner"].latent_steps for one in work(engine, TEAMS["latents, end"]()).values()]
    assert min(steps) < 9 and len(set(steps)) > 1


@settings(max_examples=3)
@given(order=st.permutations(QUESTIONS), batch_size=st.sampled_from([2, 3, 8]))
@pytest.mark.parametrize("name", TEAMS)
def test_an_item_gets_the_same_in_any_company(engine, name, order, batch_size):
    team = TEAMS[name]()
    done = work(engine, team, order, batch_size=batch_size)
    for question in QUESTIONS:
        alone = work(engine, team, [question], batch_size=1)[question.key]
        assert without_seconds(done[question.key]) == without_seconds(alone)
        for member, states in alone.latents.items():
            torch.testing.assert_close(done[question.key].latents[member], states, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def scout():
    """A bundled model, trained and with a chat template of its own."""
    return Engine.load(bundled("alfworld-mini/scout"), dtype="float32", device="cpu")


@pytest.mark.parametrize("opening", ["", "the plan"])
@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_the_cache_of_what_was_written_gives_the_answers_of_the_words(engine, scout, opening, temperature):
    sampling = Sampling(max_new_tokens=7, temperature=temperature)
    for one in (engine, scout):
        words, cache = (
            work(one, conversation("text", transfer, opening=opening, sampling=sampling), batch_size=size)
            for transfer, size in (("all", 2), ("own", 8))
        )
        for question in QUESTIONS:
            mine, theirs = cache[question.key].turns, words[question.key].turns
            assert [t.token_ids for t in mine.values()] == [t.token_ids for t in theirs.values()]
            assert [t.text for t in mine.values()] == [t.text for t in theirs.values()]
            assert mine["planner"].prompt_tokens == theirs["planner"].prompt_tokens
            assert mine["judger"].prompt_tokens < theirs["judger"].prompt_tokens


def test_a_cache_of_words_is_read_once_and_words_by_everybody(engine):
    planner, critic, judger = conversation("text", sampling=Sampling(max_new_tokens=40)).members
    refiner = dataclasses.replace(critic, name="refiner", prompt="again", inputs=("planner", "critic"))
    judger = dataclasses.replace(judger, inputs=("planner", "critic", "refiner"))
    runs = []
    for transfer in ("all", "own"):
        senders = (dataclasses.replace(one, cache_transfer=transfer) for one in (planner, critic, refiner))
        runs.append(work(engine, Team((*senders, judger))))
    for question in QUESTIONS:
        words, cache = (done[question.key] for done in runs)
        read = [turn.prompt_tokens for turn in cache.turns.values()]
        written = [turn.decoded_tokens for turn in cache.turns.values()]
        assert [turn.prompt_tokens for turn in words.turns.values()] == [
            sum(read[: place + 1]) + sum(written[:place]) for place in range(4)
        ]
        assert [t.token_ids for t in words.turns.values()] == [t.token_ids for t in cache.turns.values()]


@pytest.mark.parametrize("name", ["latents", "latents, own", "cache of words"])
def test_a_conversation_goes_on_from_saved_messages(engine, make_tokenizer, tmp_path, name):
    team = TEAMS[name]()
    whole = work(
        engine, team, batch_size=3, send=lambda q, member, message: save_message(tmp_path, q.key, member.name, message)
    )
    again = Engine.wrap(engine.model, make_tokenizer("chatml"))
    for key in ("one", "two"):
        messages = saved_messages(tmp_path, key)
        assert sorted(messages) == ["critic", "planner"]
        question = dataclasses.replace(next(q for q in QUESTIONS if q.key == key), messages=messages)
        done = work(again, team, [question])[key]
        assert done.turns["judger"].token_ids == whole[key].turns["judger"].token_ids
        assert done.turns["critic"].forward_passes == 0


def test_members_of_other_models_read_the_words(engine, build_model, make_tokenizer):
    """Token ids mean something to their own model only."""
    other = Engine.wrap(build_model("qwen2", tied=False, max_position_embeddings=1024), make_tokenizer("chatml"))
    planner, critic, judger = conversation("text").members
    team = Team((planner, dataclasses.replace(critic, model="other"), judger))
    teamwork = Teamwork(team, {"": engine, "other": other})
    (one,) = teamwork.run(QUESTIONS[:1])
    ids = token_ids_of(tokenize(teamwork.prompt(team.member("critic"), one), other.tokenizer))
    expected = (
        f"<|im_start|>user\nplan: the kettle<|im_end|>\n<|im_start|>assistant\n{one.turns['planner'].final}<|im_end|>\n"
        "<|im_start|>user\nis it right?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert other.tokenizer.decode(ids) == expected


def test_words_may_be_in_a_user_turn_of_a_conversation(engine):
    planner, critic, judger = conversation("text").members
    told = Team((planner, dataclasses.replace(judger, prompt="{messages}: {question}", inputs=("planner",))))
    teamwork = Teamwork(told, {"": engine})
    (one,) = teamwork.run(QUESTIONS[:1])
    ids = token_ids_of(tokenize(teamwork.prompt(told.final_agent, one), engine.tokenizer))
    text = engine.tokenizer.decode(ids)
    assert text.count("<|im_start|>") == 2 and "[planner]" in text and critic.reads_turns


def test_conversations_without_sense_are_refused(engine):
    planner, critic, judger = conversation().members
    with pytest.raises(InputError, match=r"system of critic is 'you check'.*'be brief'"):
        Team((dataclasses.replace(planner, system="be brief"), dataclasses.replace(critic, system="you check"), judger))
    writes = dataclasses.replace(planner, output="text")
    with pytest.raises(InputError, match="the text of planner would be lost"):
        Team((writes, critic, dataclasses.replace(judger, inputs=("planner", "critic"))))
    with pytest.raises(InputError, match="a conversation reads its question once"):
        Teamwork(conversation(), {"": engine}, share_question=True)


def test_a_template_that_cannot_continue_is_an_error_at_once(make_tokenizer, build_model):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ m.role }}", "{{ m.role }}{{ loop.index }}")
    broken = Engine.wrap(build_model("qwen2", max_position_embeddings=1024), tokenizer)
    with pytest.raises(PromptError):
        Teamwork(conversation(), {"": broken})


@pytest.mark.parametrize("connector", ["identity", "ridge", "vocabulary:temperature=0.5", "topk:k=3", "random:seed=2"])
@pytest.mark.parametrize("steps", [0, 1, 80])
def test_every_connector_takes_the_latent_steps_of_a_conversation(engine, connector, steps, monkeypatch, tmp_path):
    monkeypatch.setenv("INTERLAT_CACHE", str(tmp_path))
    made = latent_connector(connector, engine)
    done = work(engine, conversation(latent_steps=steps), QUESTIONS[:2], connector=made)
    assert [one.turns["planner"].latent_steps for one in done.values()] == [steps, steps]
    assert all(one.latents["critic"].isfinite().all() for one in done.values())
