import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from interlat.errors import CheckpointError
from interlat.training import torch_zip
from interlat.training.torch_zip import STORAGES, read_torch_zip


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
        for name, data in entries.items() if isinstance(entries, dict) else entries:
            archive.writestr(root + name, data)
    return path


def with_description(path, description):
    return write_entries(path, entries_of(path) | {"data.pkl": description})


def described(path, *words):
    """The file with another description: instructions as bytes, in the order given, between PROTO and STOP."""
    return with_description(path, b"\x80\x02" + b"".join(words) + b".")


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def number(value):
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def numbers(*values):
    return b"(" + b"".join(number(value) for value in values) + b"t"


def storage(key="0", count=6, kind="FloatStorage"):
    return (
        b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(count) + b"tQ"
    )


def tensor(offset=0, shape=(2, 3), strides=(3, 1), of=None, hooks=b"}", more=b""):
    parts = [of or storage(), number(offset), numbers(*shape), numbers(*strides), b"\x89", hooks, more]
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"".join(parts) + b"tR"


def one(value):
    """A dictionary with one value."""
    return b"}" + text("a") + value + b"s"


def assert_same(read, written):
    assert type(read) is dict and list(read) == list(written)
    for name, value in written.items():
        if isinstance(value, dict):
            assert_same(read[name], value)
        elif isinstance(value, torch.Tensor):
            assert read[name].dtype == value.dtype and read[name].shape == value.shape
            assert read[name].stride() == value.stride() and torch.equal(read[name], value.detach())
        else:
            assert type(read[name]) is type(value) and read[name] == value


@pytest.mark.parametrize("dtype", STORAGES.values(), ids=str)
def test_every_dtype_is_read_as_it_was_written(saved, dtype):
    whole = torch.randint(0, 100, (3, 5)).to(dtype)
    assert_same(read_torch_zip(saved({"a": whole, "scalar": whole[0, 0].clone()})), {"a": whole, "scalar": whole[0, 0]})


def test_state_dictionaries_numbers_texts_and_nothing(saved):
    module = nn.Sequential(nn.MultiheadAttention(8, 2), nn.LayerNorm(8))
    content = {
        "state": module.state_dict(),
        "deeper": {"still": OrderedDict(a=torch.randn(2), b=OrderedDict())},
        "numbers": {"int": -3, "large": 2**70, "short": 70_000, "float": 0.25, "yes": True, "no": False},
        "text": "wörter",
        "nothing": None,
    }
    assert module.state_dict()._metadata, "the case to test is gone"
    assert_same(read_torch_zip(saved(content)), content)
    assert read_torch_zip(saved(OrderedDict())) == {}


def test_more_than_255_tensors(saved):
    content = {f"layer {index}": torch.tensor([float(index)]) for index in range(400)}
    assert_same(read_torch_zip(saved(content)), content)


def test_views_keep_their_strides_and_share_their_storage(saved):
    whole = torch.arange(60.0)
    content = {
        "whole": whole,
        "rows": whole.view(6, 10)[1::2],
        "transposed": whole.view(6, 10).t(),
        "column": whole.view(6, 10)[:, 3],
        "last": whole[59],
        "empty": torch.zeros(0),
        "one": whole.view(6, 10)[5:, 9:],
    }
    read = read_torch_zip(saved(content))
    assert_same(read, content)
    read["whole"][3] = -1.0
    assert read["column"][0] == -1.0 and read["transposed"][3, 0] == -1.0


@given(
    shape=st.lists(st.integers(1, 4), max_size=4),
    order=st.randoms(use_true_random=False),
    dtype=st.sampled_from(list(STORAGES.values())),
)
def test_any_permuted_slice_is_read_as_it_was_written(tmp_path_factory, shape, order, dtype):
    axes = list(range(len(shape)))
    order.shuffle(axes)
    value = torch.arange(torch.Size(shape).numel()).view(shape).to(dtype).permute(axes)
    value = value[tuple(slice(order.randrange(size), None) for size in value.shape)]
    path = tmp_path_factory.mktemp("slices") / "a.pt"
    torch.save({"a": value}, path)
    assert_same(read_torch_zip(path), {"a": value})


def test_gradients_and_the_name_of_the_file_do_not_matter(saved, tmp_path):
    module = nn.Linear(3, 2)
    path = saved({"weight": module.weight.data.requires_grad_()}, "a name with äöü.bin")
    read = read_torch_zip(str(path))["weight"]
    assert torch.equal(read, module.weight) and not read.requires_grad
    path.rename(tmp_path / "moved")
    assert torch.equal(read_torch_zip(tmp_path / "moved")["weight"], module.weight)


def test_the_hand_made_files_of_these_tests_are_readable(saved):
    """What the tests below change is then the reason for their errors."""
    path = described(saved({"a": torch.arange(6.0)}), one(tensor()))
    assert_same(read_torch_zip(path), {"a": torch.arange(6.0).view(2, 3)})


def fails(path, *words):
    with pytest.raises(CheckpointError) as caught:
        read_torch_zip(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400 + len(str(path))
    for word in words:
        assert word in message, message
    return message


class Runs:
    """Unpickled, it runs a command."""

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
        path = described(saved({"a": torch.arange(6.0)}), pickle.dumps({"a": call}, protocol)[2:-1])
        fails(path, "plain weights")
        fails(saved({"a": call}), "plain weights")
    assert not proof.exists()


def test_the_name_that_is_refused_is_said(saved):
    path = saved({"a": Runs(os.system, "true")})
    fails(path, f"the name '{os.system.__module__}.system'", "safetensors")
    long = b"c" + b"m" * 5000 + b"\nx\n"
    fails(described(path, one(long)), "mmm...'")


@pytest.mark.parametrize(
    "instructions",
    [
        pytest.param(one(b"ccollections\nOrderedDict.fromkeys\n"), id="attribute of an allowed name"),
        pytest.param(one(b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n"), id="globals of an allowed name"),
        pytest.param(one(b"ctorch._utils\n_rebuild_parameter\n"), id="other function of torch"),
        pytest.param(one(b"cbuiltins\ngetattr\n"), id="getattr"),
        pytest.param(one(b"cos\nsystem\n"), id="named, not called"),
        pytest.param(one(text("os") + text("system") + b"\x93"), id="STACK_GLOBAL"),
        pytest.param(one(b"(ios\nsystem\n"), id="INST"),
        pytest.param(one(b"(ccollections\nOrderedDict\no"), id="OBJ"),
        pytest.param(one(b"ccollections\nOrderedDict\n)\x81"), id="NEWOBJ"),
        pytest.param(one(b"\x82\x01"), id="extension registry"),
        pytest.param(one(b"Pstorage\n"), id="persistent id as text"),
        pytest.param(one(b"I1\n"), id="number as text"),
        pytest.param(one(b"]"), id="list"),
        pytest.param(one(b"ctorch\nFloatStorage\n)R"), id="storage type called"),
        pytest.param(one(b"ccollections\nOrderedDict\n" + number(1) + b"\x85R"), id="dictionary with arguments"),
        pytest.param(one(text("ccollections") + b")R"), id="text called"),
        pytest.param(one(b"ccollections\nOrderedDict\n"), id="function as a value"),
        pytest.param(one(storage()), id="storage as a value"),
        pytest.param(one(b")"), id="tuple as a value"),
        pytest.param(b"}" + number(1) + number(2) + b"s", id="number as a key"),
        pytest.param(b"}" + tensor() + number(2) + b"s", id="tensor as a key"),
        pytest.param(b"}(" + text("a") + b"u", id="key without a value"),
        pytest.param(b")" + text("a") + number(1) + b"s", id="item of a tuple"),
        pytest.param(b"ccollections\nOrderedDict\n)R}" + text("__class__") + number(1) + b"sb", id="other attribute"),
        pytest.param(b"ccollections\nOrderedDict\n)R" + number(1) + b"b", id="attributes that are no dictionary"),
        pytest.param(one(tensor() + b"}b"), id="attributes of a tensor"),
        pytest.param(number(1), id="a number and no dictionary"),
        pytest.param(tensor(), id="a tensor and no dictionary"),
        pytest.param(b"}}", id="two dictionaries"),
        pytest.param(b"}(}", id="open mark"),
        pytest.param(b"}.}", id="more behind the end"),
    ],
)
def test_anything_but_weights_is_refused(saved, instructions):
    fails(described(saved({"a": torch.arange(6.0)}), instructions), "plain weights")


@pytest.mark.parametrize(
    "instructions", [b"", b"s", b"R", b"b", b"t", b"u", b"\x87", b"}h\x05", b"q\x00", b"\xff", b"}X\xff\xff\xff\x7fa"]
)
def test_a_description_that_makes_no_sense_is_damaged(saved, instructions):
    path = described(saved({"a": torch.arange(6.0)}), instructions)
    fails(path, "damaged")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(tensor(shape=(3, 3)), id="more elements"),
        pytest.param(tensor(offset=1), id="offset past the end"),
        pytest.param(tensor(offset=-1), id="offset before the start"),
        pytest.param(tensor(offset=7, shape=(0,), strides=(1,)), id="empty behind the end"),
        pytest.param(tensor(strides=(4, 1)), id="stride past the end"),
        pytest.param(tensor(strides=(-3, 1)), id="negative stride"),
        pytest.param(tensor(shape=(-2, -3)), id="negative sizes"),
        pytest.param(tensor(strides=(3,)), id="a stride too few"),
        pytest.param(tensor(shape=(10**12,), strides=(0,)), id="one number under many names"),
        pytest.param(tensor(shape=(0, 10**30), strides=(1, 1)), id="nothing of an absurd size"),
        pytest.param(tensor(shape=(1, 1), strides=(10**30, 1)), id="absurd stride"),
        pytest.param(tensor(shape=(1,) * 100_000, strides=(1,) * 100_000), id="absurdly many dimensions"),
        pytest.param(tensor(of=storage(count=10**12)), id="larger than its entry"),
        pytest.param(tensor(of=storage(count=10**36)), id="absurdly larger than its entry"),
        pytest.param(tensor(of=storage(count=5), shape=(5,), strides=(1,)), id="smaller than its entry"),
        pytest.param(tensor(of=storage(count=-6)), id="negative storage"),
        pytest.param(tensor(of=storage(kind="DoubleStorage")), id="other dtype than its entry"),
        pytest.param(tensor(of=storage(kind="UntypedStorage")), id="no dtype"),
        pytest.param(tensor(of=storage("../../etc/passwd")), id="path as a key"),
        pytest.param(tensor(of=storage("/etc/passwd")), id="absolute path as a key"),
        pytest.param(tensor(of=storage("")), id="no key"),
        pytest.param(tensor(of=storage("0/")), id="folder as a key"),
        pytest.param(tensor(of=text("storage")), id="text for a storage"),
        pytest.param(tensor(of=b"(" + text("storage") + b"tQ"), id="incomplete storage"),
        pytest.param(tensor(hooks=one(number(1))), id="hooks"),
        pytest.param(tensor(hooks=b"N"), id="None for the hooks"),
        pytest.param(tensor(more=b"}"), id="metadata"),
        pytest.param(one(b"ctorch._utils\n_rebuild_tensor_v2\n)R"), id="no arguments"),
        pytest.param(tensor().replace(number(0), b"\x88", 1), id="truth for an offset"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(saved, value):
    fails(described(saved({"a": torch.arange(6.0)}), one(value)), "plain weights")


def test_one_storage_has_one_description(saved):
    path = saved({"a": torch.arange(6.0)})
    both = one(tensor()) + text("b") + tensor(of=storage(kind="IntStorage")) + b"s"
    fails(described(path, both), "not as it is described")


def test_a_missing_entry_is_said(saved):
    path = saved({"a": torch.arange(6.0), "b": torch.zeros(2)})
    entries = entries_of(path)
    for name in ("data.pkl", "data/1"):
        write_entries(path, {key: data for key, data in entries.items() if key != name})
        fails(path, f"lacks its entry '{name}'")
    write_entries(path, {})
    fails(path, "lacks its entry 'data.pkl'")


@pytest.mark.parametrize(
    "name",
    ["../../outside", "weights/../data/9", "/weights/data/9", "weights//data/9", "other/data/9", "weights\\x", "x"],
)
def test_entries_that_lead_elsewhere_are_refused(saved, tmp_path, name):
    path = saved({"a": torch.arange(6.0)})
    files = sorted(tmp_path.iterdir())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    fails(path, "the entry", "plain weights")
    entries = {("../weights/" if name.startswith(".") else "weights/") + key: d for key, d in entries_of(path).items()}
    if name.startswith("."):
        fails(write_entries(path, entries, root=""), "the entry")
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(saved):
    path = saved({"a": torch.arange(6.0)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("weights/data/0", b"\0" * 24)
    fails(path, "two entries of one name")


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(saved, monkeypatch):
    path = saved({"a": torch.arange(6.0)})
    entries = entries_of(path)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("an entry was read"))
    bomb = entries | {"data/0": bytes(50_000_000)}
    fails(write_entries(path, bomb, compression=zipfile.ZIP_DEFLATED), "compressed or encrypted")
    assert path.stat().st_size < 100_000
    write_entries(path, entries)
    raw = path.read_bytes()
    for lie in (2**20, 2**31):
        # The two sizes in the central directory's record of the last entry, which begins 46 bytes before its name.
        place = raw.rindex(b"PK\x01\x02") + 20
        path.write_bytes(raw[:place] + lie.to_bytes(4, "little") * 2 + raw[place + 8 :])
        fails(path, "larger than the file")


def test_a_description_of_absurd_size_is_refused(saved, monkeypatch):
    path = saved({"a": torch.arange(6.0)})
    monkeypatch.setattr(torch_zip, "LARGEST_DESCRIPTION", 50)
    fails(path, "bytes in 'data.pkl'", "at most 50")


def test_an_encrypted_entry_is_refused(saved):
    path = saved({"a": torch.arange(6.0)})
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    fails(path, "compressed or encrypted")


def test_other_files_are_refused(saved, tmp_path):
    fails(saved({"a": torch.zeros(2)}, _use_new_zipfile_serialization=False), "no zip archive", "newer torch")
    (tmp_path / "plain").write_bytes(pickle.dumps({"a": 1}))
    fails(tmp_path / "plain", "no zip archive")
    fails(tmp_path / "missing", "there is no file")
    fails(tmp_path, "there is no file")
    fails(saved(torch.zeros(2)), "something other than one dictionary")
    fails(saved({"a": nn.Parameter(torch.zeros(2))}), "_rebuild_parameter")
    fails(saved({"a": torch.zeros(2, dtype=torch.complex64)}), "ComplexFloatStorage")
    fails(saved({"a": nn.Linear(2, 2)}), "torch.nn.modules.linear.Linear")


def test_the_byte_order_of_another_machine_is_refused(saved):
    path = saved({"a": torch.arange(6.0)})
    entries = entries_of(path)
    fails(write_entries(path, entries | {"byteorder": b"big"}), "byte order")
    write_entries(path, {name: data for name, data in entries.items() if name != "byteorder"})
    assert torch.equal(read_torch_zip(path)["a"], torch.arange(6.0)), "torch before 2.1 did not write one"


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_changed_bytes_do_nothing_but_fail(saved):
    """Of the description, then of the file: a dictionary comes out, or the one error."""
    path = saved({"state": nn.LayerNorm(4).state_dict(), "scale": 0.2})
    description, whole = entries_of(path)["data.pkl"], path.read_bytes()
    rng = random.Random(0)
    for data, write in ((description, with_description), (whole, lambda place, changed: place.write_bytes(changed))):
        outcomes = set()
        for _ in range(200):
            changed = bytearray(data)
            for _ in range(rng.choice([1, 1, 3])):
                changed[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(whole)
            write(path, bytes(changed))
            try:
                outcomes.add(type(read_torch_zip(path)))
            except CheckpointError:
                outcomes.add(CheckpointError)
        assert outcomes == {dict, CheckpointError}


def test_no_truncated_file_is_read(saved):
    path = saved({"state": nn.LayerNorm(4).state_dict()})
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        fails(path)
