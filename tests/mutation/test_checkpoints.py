"""Damaged checkpoints give an agent that works or an error of ours: no traceback, no hang."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

import interlat
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.bridge import Bridge, BridgeConfig
from interlat.errors import InterlatError
from mutation.mutate import damage_bytes, damage_json

SIZE = 32
JSON_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "agent.json")
MODULES = ("adapter.safetensors", "bridge.safetensors")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny trained actor with all the files that interlat writes beside a model."""
    from interlat.agents.settings import AgentSettings
    from model_fixtures import SPECIALS, TEMPLATES, make_model, tiny_tokenizer

    folder = tmp_path_factory.mktemp("checkpoint")
    template, specials = TEMPLATES["chatml"]
    torch.manual_seed(0)
    make_model("qwen2").save_pretrained(folder)
    tiny_tokenizer(SPECIALS, 320, chat_template=template, **specials).save_pretrained(folder)
    CommunicationAdapter(AdapterConfig(SIZE, SIZE)).save(folder)
    Bridge(BridgeConfig(SIZE, SIZE)).save(folder)
    AgentSettings("actor", "Be brief.", message_kind="hidden").save(folder)
    return folder


def damage_module(path: Path, rng: random.Random) -> None:
    """Another configuration in the header of a safetensors file, its tensors unchanged."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["interlat"])
    description["config"] = damage_json(description["config"], rng)
    header["__metadata__"]["interlat"] = json.dumps(description)
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + data[8 + length :])


def damage(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice([*JSON_FILES, *JSON_FILES, *MODULES, "model.safetensors", "tokenizer.json"])
    if path.name in JSON_FILES and rng.random() < 0.8:
        path.write_text(json.dumps(damage_json(json.loads(path.read_text()), rng)))
    elif path.name in MODULES and rng.random() < 0.7:
        damage_module(path, rng)
    elif rng.random() < 0.1:
        path.unlink()
    else:
        path.write_bytes(damage_bytes(path.read_bytes(), rng))


def use(folder: Path) -> None:
    """What a user does first."""
    agent = interlat.load(folder, dtype="float32", device="cpu")
    agent.reply("Where is the kettle?", agent.think("Find it.", 2))


def check(checkpoint: Path, folder: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    for round_number in range(count):
        target = folder / str(round_number)
        shutil.copytree(checkpoint, target)
        damage(target, rng)
        try:
            use(target)
        except InterlatError as error:
            assert "\n" not in str(error)
        shutil.rmtree(target)


@pytest.mark.timeout(120)
def test_damaged_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    check(checkpoint, tmp_path, 60, seed=31)


@pytest.mark.slow
def test_many_damaged_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    check(checkpoint, tmp_path, 1_500, seed=32)


def test_a_whole_checkpoint_works(checkpoint: Path) -> None:
    use(checkpoint)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"hidden_size": 64}),
        ("config.json", {"vocab_size": 2**31}),
        ("config.json", {"num_hidden_layers": 2**31}),
        ("config.json", {"num_hidden_layers": 3}),
        ("config.json", {"layer_types": ["full_attention"]}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"rope_parameters": 5}),
        ("config.json", {"max_position_embeddings": "many"}),
        ("generation_config.json", []),
        ("tokenizer_config.json", []),
        ("agent.json", {"sampling": {"temperature": "hot"}}),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(checkpoint: Path, tmp_path: Path, name: str, change: object) -> None:
    shutil.copytree(checkpoint, tmp_path / "c")
    path = tmp_path / "c" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change} if isinstance(change, dict) else change))
    with pytest.raises(InterlatError) as error:
        use(tmp_path / "c")
    assert "\n" not in str(error.value)
