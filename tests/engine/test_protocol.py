import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch

from interlat import registry
from interlat.agents.agent import Agent
from interlat.agents.loading import load_engine
from interlat.engine.cache import KVCache
from interlat.engine.cache_message import cache_of_message, message_of_cache
from interlat.engine.decoding import DecodeOutput
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Tokens, token_ids_of, tokenize
from interlat.engine.protocol import ENGINES, Engine, load_model
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError, MessageError
from interlat.teams.runner import Teamwork
from interlat.teams.team import Member, Team

SIZE = 4


class EchoEngine(Engine):
    """An engine of another package: a model that repeats the last tokens of what it read."""

    layers, hidden_size, context_length = 0, SIZE, 512

    def __init__(self, name, tokenizer):
        self.name, self.tokenizer = name, tokenizer
        self.read = {}

    @classmethod
    def load(cls, path_or_hub_id, *, dtype="auto", device="auto", trust_remote_code=False):
        return cls(path_or_hub_id, HFEngine.load(path_or_hub_id, dtype="float32").tokenizer)

    @property
    def device(self):
        return torch.device("cpu")

    @property
    def dtype(self):
        return torch.float32

    @property
    def stop_ids(self):
        return self.chat.stop_ids

    def prefill(self, prompts, cache=None, *, segment="prompt", spare=0):
        read = [token_ids_of(tokenize(prompt, self.tokenizer)) for prompt in prompts]
        empty = KVCache.empty(torch.zeros(len(prompts), SIZE))
        memory = replace(empty, next_position=torch.tensor([len(ids) for ids in read]))
        self.read[id(memory)] = read
        return memory

    def decode(
        self, memory, sampling=None, seeds=None, stop_ids=None, keep_hidden_states=False, *, state_at="", segment=""
    ):
        ids = [read[-3:] for read in self.read.pop(id(memory))]
        texts = [self.tokenizer.decode(one, skip_special_tokens=True) for one in ids]
        return DecodeOutput(memory, ids, texts, [torch.zeros(3, SIZE) for _ in ids], [True] * len(ids), 3)


@pytest.fixture
def checkpoint(qwen, tmp_path):
    qwen.model.save_pretrained(tmp_path)
    qwen.tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def echo(monkeypatch):
    """The engine, found as that of another package is."""
    monkeypatch.setattr(EntryPoint, "load", lambda self: EchoEngine)
    point = EntryPoint("echo", "echo_package:EchoEngine", "interlat.engines")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "interlat.engines" else [])
    monkeypatch.setattr(ENGINES, "_places", dict(ENGINES._places))
    monkeypatch.setattr(ENGINES, "_found", False)


def test_an_engine_of_another_package_loads_by_name_and_replies(echo, checkpoint):
    engine = load_model(str(checkpoint), "echo")
    assert isinstance(engine, EchoEngine) and ENGINES.names()[-1] == "echo"
    ids = tuple(engine.tokenizer("one two three four", add_special_tokens=False)["input_ids"])
    decoded = engine.decode(engine.prefill([[Tokens(ids)]]))
    assert decoded.token_ids == [list(ids[-3:])]
    reply = Agent(engine).reply("Say something")
    assert isinstance(reply, str) and reply.stopped
    other, settings = load_engine(str(checkpoint), engine="echo")
    assert isinstance(other, EchoEngine) and Agent(other, settings=settings).write("Plan").hidden_states.shape == (3, 4)


def test_what_the_protocol_gives_for_nothing(echo, checkpoint):
    engine = load_model(str(checkpoint), "echo")
    options = TemplateOptions(date="2024-01-02")
    assert engine.with_template(options).template == options and engine.template == TemplateOptions()
    assert engine.weights_fingerprint == "" and len(engine.tokenizer_fingerprint) == 64
    assert engine.context_after(7) == 512 and not engine.scales_embeddings
    engine.check_cache(KVCache.empty(torch.zeros(1, SIZE)))


def test_an_unknown_engine_is_refused_by_name():
    with pytest.raises(InputError, match=r"'steam' among the engines.*hf"):
        load_model("anywhere", "steam")


def test_the_reference_is_an_engine(qwen):
    assert isinstance(qwen, HFEngine) and qwen.layers == qwen.config.num_hidden_layers
    assert qwen.output_embeddings is qwen.model.get_output_embeddings().weight


def test_a_model_behind_a_server_is_no_model_here():
    with pytest.raises(InputError, match=r"openai:x runs behind a server, and the model itself is needed here"):
        load_engine("openai:x")


@pytest.mark.parametrize("name", ["vllm", "hybrid"])
def test_an_engine_whose_package_is_missing_says_so(name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match=r"needs the package vllm.*engine hf"):
        load_model(str(tmp_path), name)


def test_an_engine_may_keep_its_caches(qwen, monkeypatch):
    """Neither messages nor teams take them then, and the team is refused before it begins."""
    message = message_of_cache(qwen, qwen.prefill(["the kettle"]))

    def keep(**options):
        raise MessageError("caches stay here")

    monkeypatch.setattr(qwen, "check_caches_travel", keep)
    for taken in (lambda: message_of_cache(qwen, qwen.prefill(["the"])), lambda: cache_of_message(qwen, message)):
        with pytest.raises(MessageError, match="caches stay here"):
            taken()
    members = (Member("a", "think", output="latents", latent_steps=2), Member("b", "answer {a}", inputs=("a",)))
    Teamwork(Team(members), {"": qwen})
    for team, options in (
        (Team((replace(members[0], int8=True), members[1])), {}),
        (Team(members), {"send": lambda *sent: None}),
    ):
        with pytest.raises(MessageError, match="caches stay here"):
            Teamwork(team, {"": qwen}, **options)
