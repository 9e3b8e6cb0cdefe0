import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field
from tyro.conf import Positional

from interlat.cli.main import parse
from interlat.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inner:
    RENAMED: ClassVar[Mapping[str, str]] = {"speed": "rate"}
    rate: float = 0.5
    enable_thinking: bool | None = None


@dataclasses.dataclass(frozen=True)
class File:
    path: str
    kind: Literal["file"] = "file"


@dataclasses.dataclass(frozen=True)
class Generated:
    count: int = 3
    kind: Literal["generated", "made"] = "generated"


@dataclasses.dataclass(frozen=True)
class Settings:
    RENAMED: ClassVar[Mapping[str, str]] = {"games": "limit"}
    place: Positional[str]
    more: Positional[tuple[str, ...]] = ()
    limit: int | None = None
    rate_of_change: float = 0.5
    names: tuple[str, ...] = ("a",)
    layers: tuple[int, ...] = ()
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    arms: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    json: bool = False
    private: bool = True
    inner: Inner = dataclasses.field(default_factory=Inner)
    source: Annotated[File | Generated, Field(discriminator="kind")] = dataclasses.field(default_factory=Generated)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("x", {}),
        ("x y z", {"more": ("y", "z")}),
        ("--limit 3 x", {"limit": 3}),
        ("x --games 3", {"limit": 3}),
        ("x --limit None", {"limit": None}),
        ("x --limit 3 --limit 4", {"limit": 4}),
        ("x --rate-of-change=1e-5", {"rate_of_change": 1e-5}),
        ("x --rate_of_change 2", {"rate_of_change": 2.0}),
        ("x --names b c --json", {"names": ("b", "c"), "json": True}),
        ("x --names", {"names": ()}),
        ("--json x --no-private", {"json": True, "private": False}),
        ("--json false x", {}),
        ("x --layers -1 -2", {"layers": (-1, -2)}),
        ("x --shares train 0.9 test 0.1", {"shares": {"train": 0.9, "test": 0.1}}),
        ("x --shares.train 0.9", {"shares": {"train": 0.9}}),
        ("x --arms.latent-7 a b --arms.text c", {"arms": {"latent-7": ("a", "b"), "text": ("c",)}}),
        ("x --inner.speed 2", {"inner": Inner(2.0)}),
        ("x --inner.enable-thinking true", {"inner": Inner(enable_thinking=True)}),
        ("x --inner.enable-thinking", {"inner": Inner(enable_thinking=True)}),
        ("x --inner.no-enable-thinking", {"inner": Inner(enable_thinking=False)}),
        ("x --inner.enable-thinking None", {}),
        ("x --source.kind made --source.count 5", {"source": Generated(5, "made")}),
        ("x --source.count 5", {"source": Generated(5)}),
        ("x --source.kind file --source.path p", {"source": File("p")}),
    ],
)
def test_flags_are_fields(words, changes):
    assert parse(Settings, words.split()) == Settings("x", **changes)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("", ["place"]),
        ("x --limt 3", ["--limt", "did you mean '--limit'"]),
        ("x --no-limit", ["--no-limit"]),
        ("x --inner.rat 3", ["--inner.rat", "did you mean '--inner.rate'"]),
        ("x --inner 3", ["--inner"]),
        ("x --limit", ["--limit", "a whole number or null"]),
        ("x --limit --json", ["--limit", "a whole number or null"]),
        ("x --limit 2.5", ["--limit", "'2.5'", "a whole number"]),
        ("x --rate-of-change fast", ["--rate-of-change", "'fast'", "a number"]),
        ("x --json --private maybe=1 --limit x", ["--limit", "'x'"]),
        ("x --layers 1 2.5", ["--layers[1]", "'2.5'", "a list of a whole number"]),
        ("x --shares train", ["--shares", "'train'"]),
        ("x --shares train many", ["--shares[train]", "'many'"]),
        ("x --source.kind fil", ["source.kind", "'fil'", "file, generated, made", "did you mean 'file'"]),
        ("x --source.kind file --source.path p --source.count 3", ["source.count", "kind generated", "file"]),
        ("x --source.kind file", ["needs path"]),
        ("x --games 3 --limit 4", ["'games'", "'limit'"]),
    ],
)
def test_a_bad_flag_is_named(words, parts):
    with pytest.raises(InputError) as error:
        parse(Settings, words.split())
    assert all(part in str(error.value) for part in parts), str(error.value)


@dataclasses.dataclass(frozen=True)
class Output:
    output: str
    inner: Inner = dataclasses.field(default_factory=Inner)
    limit: int = 0


def test_a_word_too_many_is_named():
    with pytest.raises(InputError, match="'x'"):
        parse(Output, ["x", "--output", "o"])


def test_flags_go_before_the_file_and_its_older_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("inner: {speed: 2, enable_thinking: true}\nlimit: 1\noutput: ~/o")
    assert parse(Output, ["--config", str(tmp_path / "c.yaml"), "--inner.rate", "3"]) == Output(
        f"{tmp_path}/o", Inner(3.0, True), 1
    )
    # What the file leaves out may come from flags.
    (tmp_path / "c.yaml").write_text("limit: 1")
    assert parse(Output, ["--limit=4", f"--config={tmp_path / 'c.yaml'}", "--output=~/x"]) == Output(
        f"{tmp_path}/x", limit=4
    )
