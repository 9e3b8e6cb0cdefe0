import pytest
import torch
from safetensors.torch import load_file

from interlat.errors import StorageError
from interlat.store.shard import ShardFormat, ShardWriter, open_shard, rows_on_disk

PLAIN = ShardFormat(torch.bfloat16, (6,), False)
SCALED = ShardFormat(torch.int8, (2, 3), True)


def numbered(form, start, count):
    values = torch.arange(start, start + count)[:, None].expand(count, 6).reshape(count, *form.row_shape)
    scales = torch.arange(start, start + count, dtype=torch.float32) if form.scaled else None
    return values.to(form.dtype).contiguous(), scales


@pytest.mark.parametrize("form", [PLAIN, SCALED], ids=["plain", "scaled"])
def test_rows_read_while_growing_and_after_closing(tmp_path, form):
    writer = ShardWriter(tmp_path / "a", form)
    assert [writer.append(*numbered(form, start, 3)) for start in (0, 3, 6)] == [0, 3, 6]
    growing = open_shard(tmp_path / "a", form)
    assert torch.equal(growing.rows.float(), numbered(form, 0, 9)[0].float())
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    closed = open_shard(tmp_path / "a", form)
    assert torch.equal(closed.rows.float(), growing.rows.float())
    # Any reader of safetensors can open it.
    tensors = load_file(tmp_path / "a.safetensors")
    assert torch.equal(tensors["rows"].float(), growing.rows.float())
    if form.scaled:
        assert tensors["scales"].tolist() == closed.scales.tolist() == list(range(9))


@pytest.mark.parametrize("form", [PLAIN, SCALED], ids=["plain", "scaled"])
@pytest.mark.parametrize("torn", [0, 1, 5])
def test_a_killed_writer_is_continued_where_its_journal_ends(tmp_path, form, torn):
    writer = ShardWriter(tmp_path / "a", form)
    writer.append(*numbered(form, 0, 4))
    writer.append(*numbered(form, 50, 2))
    writer.suspend()
    with open(tmp_path / "a.partial", "ab") as handle:
        handle.write(b"x" * torn)
    assert rows_on_disk(tmp_path / "a", form) >= 6
    again = ShardWriter(tmp_path / "a", form, rows=4)
    assert again.append(*numbered(form, 4, 2)) == 4
    again.close()
    shard = open_shard(tmp_path / "a", form)
    assert torch.equal(shard.rows.float(), numbered(form, 0, 6)[0].float())


def test_closing_twice_over_an_interrupted_close(tmp_path):
    """Killed between header and renaming: the file is cut to the rows of the journal and closed again."""
    writer = ShardWriter(tmp_path / "a", SCALED)
    writer.append(*numbered(SCALED, 0, 4))
    writer._scale_data.seek(0)
    writer._data.write(writer._scale_data.read())
    writer._data.seek(0)
    writer._data.write(writer._header())
    writer.suspend()
    ShardWriter(tmp_path / "a", SCALED, rows=4).close()
    assert load_file(tmp_path / "a.safetensors")["scales"].tolist() == [0, 1, 2, 3]


def test_a_shard_without_rows_leaves_nothing(tmp_path):
    ShardWriter(tmp_path / "a", SCALED).close()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_partial_shard_can_be_read(tmp_path):
    ShardWriter(tmp_path / "a", SCALED).suspend()
    assert open_shard(tmp_path / "a", SCALED).rows.shape == (0, 2, 3)


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(StorageError, match="missing"):
        open_shard(tmp_path / "a", PLAIN)
    writer = ShardWriter(tmp_path / "a", PLAIN)
    writer.append(*numbered(PLAIN, 0, 4))
    writer.close()
    with pytest.raises(StorageError, match="belongs to another store"):
        open_shard(tmp_path / "a", ShardFormat(torch.bfloat16, (5,), False))
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-3])
    with pytest.raises(StorageError, match="damaged"):
        open_shard(tmp_path / "a", PLAIN)
