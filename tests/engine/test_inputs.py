"""What engines with memories of inputs share, on an engine whose states are sums of what was read."""

import pytest
import torch

from interlat.engine.inputs import LATENT, Done, InputsEngine, Reading, followed, parts_of, shapes_of_memory
from interlat.engine.origin import Origin
from interlat.engine.prompt import Latents, Tokens
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError, MessageError, PromptError

SIZE = 4


class Adder(InputsEngine):
    """Its state is the sum of what it read, a token n being n in the first place; it writes the state, modulo 50."""

    RUNS_IN = "a test"
    name, layers, hidden_size, context_length, dtype = "adder", 1, SIZE, 40, torch.float32
    device, vocabulary_size, stop_ids = torch.device("cpu"), 50, frozenset({13})

    def __init__(self, tokenizer):
        self.tokenizer, self.template, self.before = tokenizer, TemplateOptions(), []
        self.__dict__["origin"] = Origin(self.name, {}, lambda: "", lambda: "")
        self.origin.shapes, self.origin.hidden_size = shapes_of_memory(SIZE), SIZE

    @classmethod
    def load(cls, path_or_hub_id, **options):
        raise NotImplementedError

    input_embeddings = output_embeddings = None

    def embed(self, ids):
        return torch.nn.functional.pad(ids.float()[..., None], (0, SIZE - 1))

    def logits(self, hidden_states):
        likeliest = hidden_states.sum(dim=-1).round().long() % 50
        return torch.nn.functional.one_hot(likeliest, 50).float()

    def run(self, readings, at_once, sampling, ends):
        for key, reading in readings:
            self.before.append((reading.before, reading.passing))
            latents = iter(reading.latents)
            rows = [next(latents) if one == LATENT else self.embed(torch.tensor(one)) for one in reading.ids]
            sums, written, stopped = list(torch.stack(rows).cumsum(dim=0)), [], False
            while len(written) < reading.budget and not stopped:
                token = int(self.logits(sums[-1]).argmax())
                stopped = token in ends
                if not stopped:
                    written.append(token)
                    sums.append(sums[-1] + self.embed(torch.tensor(token)))
            states = {n: state for n, state in enumerate(sums) if n >= len(reading.ids) - 1}
            new = torch.stack(sums[reading.before : len(reading.ids)]) if reading.wants_prompt else None
            yield key, Done(written, stopped, len(reading.ids), states, new)


@pytest.fixture
def adder(make_tokenizer):
    return Adder(make_tokenizer("chatml"))


def first(states):
    return states[..., 0].tolist()


def test_memories_hold_what_was_read(adder):
    memory = adder.prefill([[Tokens((1, 2))], [Tokens((5,)), Latents(torch.full((2, SIZE), 3.0))]])
    assert first(memory.hidden_states) == [3.0, 11.0] and memory.next_position.tolist() == [2, 3]
    more, states = adder.prefill_hidden([[Tokens((7,))], [Tokens((1, 1))]], memory)
    assert [first(one) for one in states] == [[10.0], [12.0, 13.0]] and first(memory.hidden_states) == [3.0, 11.0]
    assert [ids for ids, _ in adder.before] == [0, 0, 2, 3]
    assert first(adder.prefill([[Tokens((1,))]], more.select([1])).hidden_states) == [14.0]


def test_replies_end_at_stop_tokens_and_where_there_is_no_room(adder):
    memory = adder.prefill([[Tokens((1,))], [Tokens((13,))], [Tokens((1,) * 40)]])
    written = adder.decode(memory, Sampling(max_new_tokens=3), keep_hidden_states=True)
    assert written.token_ids == [[1, 2, 4], [], []] and written.stopped == [False, True, False]
    assert [first(one) for one in written.hidden_states] == [[1.0, 2.0, 4.0], [], []]
    assert first(written.cache.hidden_states) == [8.0, 13.0, 40.0]
    after = adder.decode(memory, Sampling(max_new_tokens=3), keep_hidden_states=True, state_at="after_token")
    assert first(after.hidden_states[0]) == [2.0, 4.0, 8.0]
    assert written.cache.next_position.tolist() == [4, 1, 40]


def test_thoughts_go_on_until_they_converge_or_end(adder):
    memory = adder.prefill([[Tokens((1,))], [Tokens((6,))], [Tokens((13,))]])
    thought, states = adder.think(memory, 3, lambda states: states / 2, stop_ids={13})
    assert first(states) == [[1.5, 2.25, 3.375], [9.0, 13.5, 20.25], [0.0, 0.0, 0.0]]
    assert thought.next_position.tolist() == [4, 4, 1] and first(thought.hidden_states) == [3.375, 20.25, 13.0]
    # From the second step on nobody else goes on from what was read before.
    assert adder.before[3:] == [(1, False)] * 2 + [(2, True)] * 2 + [(3, True)] * 2
    calm, states = adder.think(memory, 3, lambda states: states * 0.1, tolerance=0.2)
    assert calm.next_position.tolist() == [2, 2, 2] and first(states)[0][1:] == [0.0, 0.0]


def test_streams_answer_with_and_without_memories(adder):
    memory = adder.prefill([[Tokens((1, 2))]])
    requests = [
        Request("a", [Tokens((3,))], cache=memory),
        Request("b", [Tokens((4,))]),
        Request("nan", [Latents(torch.full((1, SIZE), 3e38)), Latents(torch.full((1, SIZE), 3e38))]),
    ]
    found = {one.key: one for one in adder.stream(requests, Sampling(max_new_tokens=2), prompt_states=True)}
    assert (found["a"].token_ids, found["a"].prompt_tokens, first(found["a"].prompt_states)) == ([6, 12], 1, [6.0])
    assert found["b"].token_ids == [4, 8] and not found["nan"].sound and found["nan"].token_ids == []


def test_what_cannot_be_is_refused(adder):
    memory = adder.prefill([[Tokens((1, 2))], [Tokens((3,))]])
    with pytest.raises(MessageError, match="runs in a test, which goes on from whole memories only"):
        adder.decode(memory.gather(torch.tensor([[1], [0]])))
    for refused in (
        lambda: adder.prefill_hidden([[Tokens((1,))]], kept=LayerSelection((1, 2))),
        lambda: adder.think(memory, -1, lambda states: states),
        lambda: adder.prefill([[Tokens((1,))]], spare=-1),
        lambda: list(adder.stream([], batch_size=0)),
        lambda: adder.prefill([[Tokens((1,))]], memory),
    ):
        with pytest.raises(InputError):
            refused()
    with pytest.raises(PromptError, match="holds 40"):
        adder.think(memory, 39, lambda states: states)


def test_a_sequence_becomes_a_prompt_again():
    old = Reading([1, LATENT, LATENT], torch.eye(2, SIZE))
    both = followed(old, Reading([LATENT, 4, 5], torch.full((1, SIZE), 9.0)), passing=True)
    assert both.ids == [1, LATENT, LATENT, LATENT, 4, 5] and (both.before, both.passing) == (3, True)
    parts = parts_of(both)
    assert parts[0] == Tokens((1,)) and parts[2] == Tokens((4, 5)) and torch.equal(parts[1].rows, both.latents)
