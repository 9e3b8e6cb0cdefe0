import re

import pytest
import torch
from safetensors.torch import save_file

from interlat.errors import CheckpointError
from interlat.training.checkpoint_file import Header, digest_of, read_header, read_tensors, write_tensors

TENSORS = {"model/a": torch.arange(6.0).reshape(2, 3), "model/a@step": torch.tensor(3.0), "model/b": torch.zeros(0, 2)}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert read_header(path) is None
    write_tensors(path, TENSORS, 7, {"seed": 3, "start": None})
    assert read_header(path) == Header(7, {"seed": 3, "start": None}, digest_of(TENSORS))
    found = read_tensors(path)
    assert found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_equal_trainings_have_equal_files(tmp_path):
    """safetensors writes several names of metadata in an order of its own each time."""
    path, found = tmp_path / "checkpoint.safetensors", set()
    for turn in range(20):
        identity = {"seed": 3, "start": None}
        write_tensors(path, TENSORS, 7, identity if turn % 2 else dict(reversed(identity.items())))
        found.add(path.read_bytes())
    assert len(found) == 1


def test_every_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    write_tensors(path, TENSORS, 7, {})
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for place in range(start, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
            read_tensors(path)


@pytest.mark.parametrize("kept", [0, 7, 40, -1])
def test_a_file_that_was_cut_short_is_one_line(tmp_path, kept):
    path = tmp_path / "checkpoint.safetensors"
    write_tensors(path, TENSORS, 7, {})
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_header, read_tensors):
        with pytest.raises(CheckpointError, match=re.escape(f"{path} is damaged (")):
            read(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"step": "x"}, *({"training": said} for said in ("{", "3", "{}", '{"step": 1, "identity": 3}'))],
)
def test_a_foreign_file_is_one_line(tmp_path, metadata):
    path = tmp_path / "checkpoint.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_header(path)


def test_a_file_of_the_first_version_says_no_more_than_its_step(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_file(TENSORS, path, {"step": "5"})
    assert read_header(path) == Header(5) and read_tensors(path).keys() == TENSORS.keys()
