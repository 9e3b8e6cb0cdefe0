import dataclasses

import pytest
import yaml

from interlat.config import read_config, write_config
from interlat.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    names: tuple[str, ...] = ()
    inner: Inner = dataclasses.field(default_factory=Inner)


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_nested_fields_and_tuples(tmp_path):
    config = read_config(Outer, write(tmp_path, "name: a\nnames: [b, c]\ninner: {rate: 2}\n"))
    assert config == Outer("a", ("b", "c"), Inner(2))


def test_what_is_written_is_read_back(tmp_path):
    config = Outer("ä", ("b",), Inner(0.25))
    write_config(config, tmp_path)
    assert read_config(Outer, tmp_path / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["name"] == "ä"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam: a", "unknown field 'nam'; Outer has name, names, inner"),
        ("names: [a]", "needs name"),
        ("name: a\ninner: {speed: 1}", "unknown field 'speed'"),
        ("- a", "expected fields of Outer, got list"),
        ("name: [", "not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        read_config(Outer, write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no configuration file"):
        read_config(Outer, tmp_path / "none.yaml")
