"""Files of torch.save are read without running anything, and anything but weights is one line."""

import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from torch import nn

from interlat.errors import CheckpointError
from interlat.training.published_adapter import read_weights


@pytest.fixture
def saved(tmp_path):
    def save(content, name="weights.pt", **options):
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return save


def entries_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write_entries(path, entries, *, root="weights/", **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in entries.items():
            archive.writestr(root + name, data)
    return path


def described(path, *words):
    """The file with another description: instructions as bytes, in the order given, between PROTO and STOP."""
    return write_entries(path, entries_of(path) | {"data.pkl": b"\x80\x02" + b"".join(words) + b"."})


def refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64], ids=str)
def test_weights_are_read_as_they_were_written(saved, dtype):
    whole = torch.randint(0, 100, (3, 5)).to(dtype)
    read = read_weights(saved({"state": {"a": whole, "t": whole.t(), "scalar": whole[0, 0].clone()}, "scale": 0.25}))
    assert list(read) == ["state", "scale"] and read["scale"] == 0.25
    assert torch.equal(read["state"]["a"], whole) and torch.equal(read["state"]["t"], whole.t())
    assert read["state"]["a"].dtype == dtype and read["state"]["scalar"].shape == ()


class Runs:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_runs_something_is_refused_and_does_not_run(saved, tmp_path, protocol):
    proof = tmp_path / "proof"
    for call in (
        Runs(os.system, f"touch {proof}"),
        Runs(eval, f"open({str(proof)!r}, 'w')"),
        Runs(getattr, str, "format"),
        Runs(io.open, str(proof), "w"),
        Runs(torch.zeros, 3),
        Runs(pickle.loads, pickle.dumps(Runs(os.system, f"touch {proof}"))),
    ):
        refused(described(saved({"a": torch.arange(6.0)}), pickle.dumps({"a": call}, protocol)[2:-1]))
        refused(saved({"a": call}), "plain weights")
    assert not proof.exists()


def test_the_name_that_is_refused_is_said(saved):
    refused(saved({"a": Runs(os.system, "true")}), f"names {os.system.__module__}.system", "safetensors")
    refused(saved({"a": nn.Linear(2, 2)}), "torch.nn.modules.linear.Linear")


@pytest.mark.parametrize(
    "instructions",
    [
        b"",
        b"s",
        b"R",
        b"b",
        b"t",
        b"u",
        b"\x87",
        b"}h\x05",
        b"q\x00",
        b"\xff",
        b"}X\xff\xff\xff\x7fa",
        b"\x82\x01",
        b"Px\n",
    ],
)
def test_a_description_that_makes_no_sense_is_damaged(saved, instructions):
    refused(described(saved({"a": torch.arange(6.0)}), instructions), "damaged")


def test_other_files_are_refused(saved, tmp_path):
    refused(
        saved({"a": torch.zeros(2)}, _use_new_zipfile_serialization=False), "not a zip file", "older than torch 1.6"
    )
    (tmp_path / "plain").write_bytes(pickle.dumps({"a": 1}))
    refused(tmp_path / "plain", "not a zip file")
    refused(tmp_path / "missing", "there is no file")
    refused(tmp_path, "there is no file")
    refused(saved(torch.zeros(2)), "a Tensor", "plain weights")
    refused(saved([torch.zeros(2)]), "a list", "plain weights")


def test_missing_entries_are_damage(saved):
    path = saved({"a": torch.arange(6.0), "b": torch.zeros(2)})
    entries = entries_of(path)
    for name in ("data.pkl", "data/1"):
        write_entries(path, {key: data for key, data in entries.items() if key != name})
        refused(path, "damaged")
    refused(write_entries(path, {}), "damaged")


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(saved, monkeypatch):
    path = saved({"a": torch.arange(6.0)})
    bomb = entries_of(path) | {"data/0": bytes(50_000_000)}
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda *_: pytest.fail("an entry was read"))
    refused(write_entries(path, bomb, compression=zipfile.ZIP_DEFLATED), "compressed or encrypted")


def test_an_encrypted_entry_is_refused(saved):
    path = saved({"a": torch.arange(6.0)})
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    refused(path, "compressed or encrypted")


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning", "ignore:Detected pickle protocol")
def test_changed_bytes_do_nothing_but_fail(saved):
    """Of the description, then of the file: a dictionary comes out, or the one error."""
    path = saved({"state": nn.LayerNorm(4).state_dict(), "scale": 0.2})
    entries, whole = entries_of(path), path.read_bytes()
    rng = random.Random(0)
    for data in (entries["data.pkl"], whole):
        outcomes = set()
        for _ in range(200):
            changed = bytearray(data)
            for _ in range(rng.choice([1, 1, 3])):
                changed[rng.randrange(len(data))] = rng.randrange(256)
            if data is whole:
                path.write_bytes(changed)
            else:
                write_entries(path, entries | {"data.pkl": bytes(changed)})
            try:
                outcomes.add(type(read_weights(path)))
            except CheckpointError as error:
                assert "\n" not in str(error)
                outcomes.add(CheckpointError)
        assert outcomes == {dict, CheckpointError}


def test_a_changed_number_is_damage(saved):
    path = saved({"a": torch.arange(6.0)})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(torch.tensor(5.0).numpy().tobytes(), torch.tensor(6.0).numpy().tobytes()))
    refused(path, "the checksum of 'weights/data/0' is wrong")


def test_no_truncated_file_is_read(saved):
    path = saved({"state": nn.LayerNorm(4).state_dict()})
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        refused(path)
