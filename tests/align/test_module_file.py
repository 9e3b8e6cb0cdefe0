import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from interlat.align.module_file import load_module, save_module
from interlat.errors import CheckpointError, InputError


@dataclasses.dataclass(frozen=True)
class Config:
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError("too small")


def make(settings):
    return nn.Linear(Config(**settings).size, 2)


@pytest.fixture
def path(tmp_path):
    return save_module(nn.Linear(3, 2), Config(3), tmp_path / "linear.safetensors", "interlat-linear")


def load(path):
    return load_module(path, "interlat-linear", "a map", make)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    module = nn.Linear(3, 2)
    loaded = load(save_module(module, Config(3), tmp_path / "linear.safetensors", "interlat-linear"))
    assert torch.equal(loaded.weight, module.weight) and torch.equal(loaded.bias, module.bias)
    assert not loaded.training and loaded.weight.requires_grad
    assert [file.name for file in tmp_path.iterdir()] == ["linear.safetensors"]


def test_other_formats_are_refused(path):
    with pytest.raises(CheckpointError, match="has format interlat-linear version 1, expected interlat-other"):
        load_module(path, "interlat-other", "a map", make)


@pytest.mark.parametrize(
    ("module", "config", "reason"),
    [
        (nn.Linear(4, 2), Config(3), r"its own configuration \(tensors weight\); copy it again or train a map"),
        (nn.Linear(3, 2, bias=False), Config(3), "tensors bias"),
        (nn.Linear(3, 2).bfloat16(), Config(3), "not finite float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, module, config, reason):
    path = save_module(module, config, tmp_path / "linear.safetensors", "interlat-linear")
    with pytest.raises(CheckpointError, match=reason):
        load(path)


def test_values_that_are_not_numbers_are_refused(tmp_path):
    module = nn.Linear(3, 2)
    module.bias.data[0] = float("nan")
    with pytest.raises(CheckpointError, match="tensor bias"):
        load(save_module(module, Config(3), tmp_path / "linear.safetensors", "interlat-linear"))


def test_configurations_without_meaning_are_refused(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Other:
        size: int = 0

    for config in (Other(), dataclasses.make_dataclass("Unknown", ["height"])(3)):
        path = save_module(nn.Linear(3, 2), config, tmp_path / "linear.safetensors", "interlat-linear")
        with pytest.raises(CheckpointError, match="unusable configuration"):
            load(path)


def test_damaged_and_foreign_files_are_refused(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(CheckpointError, match="damaged"):
        load(path)
    save_file({"weight": torch.zeros(2, 3)}, path)
    with pytest.raises(CheckpointError, match="is not a map of interlat"):
        load(path)
