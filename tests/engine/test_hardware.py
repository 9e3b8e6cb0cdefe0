import pytest
import torch

from interlat.engine import hardware
from interlat.errors import InputError


@pytest.mark.parametrize(("avx", "amx", "expected"), [
    (False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16),
])  # fmt: skip
def test_auto_is_what_the_cpu_multiplies_natively(avx, amx, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert hardware.choose_dtype("auto", torch.device("cpu")) is expected


def test_names_and_dtypes():
    cpu = torch.device("cpu")
    assert hardware.choose_dtype("float16", cpu) is torch.float16
    assert hardware.choose_dtype(torch.float64, cpu) is torch.float64
    with pytest.raises(InputError, match="'half'; use auto, float32"):
        hardware.choose_dtype("half", cpu)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert hardware.choose_device("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="not a device"):
        hardware.choose_device("nonsense")
    with pytest.raises(InputError, match="sees 0 CUDA devices"):
        hardware.choose_device("cuda")


def test_the_machine_in_one_line():
    line = hardware.describe_machine()
    assert "torch" in line and "\n" not in line
