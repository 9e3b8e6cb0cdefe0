import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from interlat.connectors.module_file import StoredModule
from interlat.errors import CheckpointError, InputError


@dataclasses.dataclass(frozen=True)
class Config:
    size: int
    steps: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError("too small")


class Map(StoredModule):
    FILE = "map.safetensors"
    FORMAT = "interlat-map"
    KIND = "a map"
    MISSING = "holds no map; draw one"
    CONFIG = Config

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.size, 2)


@pytest.fixture
def path(tmp_path):
    return Map(Config(3)).save(tmp_path)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    module = Map(Config(3, (4, 5)))
    assert module.save(tmp_path) == tmp_path / Map.FILE
    loaded = Map.load(tmp_path)
    assert type(loaded) is Map and loaded.config == module.config
    assert torch.equal(loaded.linear.weight, module.linear.weight)
    assert torch.equal(loaded.linear.bias, module.linear.bias)
    assert not loaded.training and loaded.linear.weight.requires_grad
    assert [file.name for file in tmp_path.iterdir()] == [Map.FILE]


def test_matrices_can_be_half_as_large_in_the_file_alone(tmp_path):
    module = Map(Config(3))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    stored = load_file(module.save(tmp_path, torch.bfloat16))
    assert {name: value.dtype for name, value in stored.items()} == {
        "linear.weight": torch.bfloat16,
        "linear.bias": torch.float32,
    }
    loaded = Map.load(tmp_path).state_dict()
    assert torch.equal(loaded["linear.weight"], before["linear.weight"].bfloat16().float())
    assert torch.equal(loaded["linear.bias"], before["linear.bias"]) and loaded["linear.weight"].dtype == torch.float32
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    module.save(tmp_path, torch.float16)
    with pytest.raises(CheckpointError, match=r"linear\.weight of .* is not finite float32"):
        Map.load(tmp_path)


def test_it_follows_to_a_device_and_is_never_rounded():
    module = Map(Config(3)).to("meta", torch.bfloat16)
    assert {(tensor.device.type, tensor.dtype) for tensor in module.parameters()} == {("meta", torch.float32)}


def test_a_folder_without_one_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=rf"{tmp_path} holds no map; draw one"):
        Map.load(tmp_path)


def test_other_formats_are_refused(path, monkeypatch):
    monkeypatch.setattr(Map, "FORMAT", "interlat-other")
    with pytest.raises(CheckpointError, match="has format interlat-map version 1, expected interlat-other"):
        Map.load(path.parent)


@pytest.mark.parametrize(
    ("linear", "reason"),
    [
        (nn.Linear(4, 2), r"its own configuration \(tensors linear.weight\); copy it again or train a map"),
        (nn.Linear(3, 2, bias=False), "tensors linear.bias"),
        (nn.Linear(3, 2).bfloat16(), "not finite float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, linear, reason):
    module = Map(Config(3))
    module.linear = linear
    module.save(tmp_path)
    with pytest.raises(CheckpointError, match=reason):
        Map.load(tmp_path)


def test_values_that_are_not_numbers_are_refused(tmp_path):
    module = Map(Config(3))
    module.linear.bias.data[0] = float("nan")
    module.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"tensor linear\.bias"):
        Map.load(tmp_path)


@pytest.mark.parametrize("fields", [{"size": 0}, {"height": 3}])
def test_configurations_without_meaning_are_refused(tmp_path, fields):
    module = Map(Config(3))
    module.config = dataclasses.make_dataclass("Other", list(fields))(**fields)
    module.save(tmp_path)
    with pytest.raises(CheckpointError, match="unusable configuration"):
        Map.load(tmp_path)


def test_damaged_and_foreign_files_are_refused(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(CheckpointError, match="damaged"):
        Map.load(path.parent)
    save_file({"weight": torch.zeros(2, 3)}, path)
    with pytest.raises(CheckpointError, match="is not a map of interlat"):
        Map.load(path.parent)
