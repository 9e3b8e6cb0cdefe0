"""Tiny random models in vLLM and in the reference engine. Collected in vLLM's environment alone (`make test-vllm`)."""

import importlib.util
from pathlib import Path

import pytest
import torch

from interlat.engine.hf import HFEngine
from interlat.engine.protocol import load_model
from model_fixtures import make_model

HERE = Path(__file__).parent
collect_ignore_glob = [] if importlib.util.find_spec("vllm") else ["test_*.py"]
WIDE = {"hidden_size": 128, "num_attention_heads": 4, "head_dim": 32, "max_position_embeddings": 512}
"""Heads of a size that vLLM has."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("vllm")


@pytest.fixture(scope="session", autouse=True)
def small_memory():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


@pytest.fixture(scope="session")
def save_wide(tmp_path_factory, make_tokenizer):
    """Write a random model that vLLM runs into a new folder."""

    def save(architecture: str, **changes: object) -> str:
        folder = tmp_path_factory.mktemp("wide") / architecture
        model = make_model(architecture, **(WIDE | changes))
        with torch.no_grad():
            for parameter in model.parameters():
                # So wide a model with larger weights doubles what rounding leaves in every latent step.
                parameter.mul_(0.6 if parameter.ndim > 1 else 1.0)
        model.save_pretrained(folder)
        make_tokenizer("llama3" if architecture == "llama" else "chatml").save_pretrained(folder)
        return str(folder)

    return save


@pytest.fixture(scope="session", params=[("qwen2", True), ("qwen3", False), ("llama", False)], ids=str)
def engines(request, save_wide):
    """The same model in vLLM and in the reference engine."""
    architecture, tied = request.param
    place = save_wide(architecture, tied=tied)
    return load_model(place, "vllm", dtype="float32"), HFEngine.load(place, dtype=torch.float32)


@pytest.fixture(scope="session")
def wide(save_wide):
    """The folder of one such model."""
    return save_wide("qwen3", tied=False, max_position_embeddings=4096)
