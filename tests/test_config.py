import dataclasses
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis.strategies import data, integers, sampled_from
from pydantic import Field

from interlat.cli.evaluate import EvaluateCommand
from interlat.cli.main import COMMANDS, parse
from interlat.cli.team import RunTeam
from interlat.collect.thoughts import CollectThoughts
from interlat.config import CHECKED_BY_CLASS, alternatives, dataclasses_of, from_mapping, read_config, write_config
from interlat.errors import InputError
from interlat.evaluation.settings import Evaluate as EvaluatePair
from interlat.experiments.household.commands.compare import Compare
from interlat.experiments.household.commands.evaluate import Evaluate
from interlat.experiments.household.commands.latency import EvaluateLatency
from interlat.experiments.household.train_scout import TrainScout
from interlat.training.loss_weights import BranchWeights, CompressionWeights
from interlat.training.settings import Compress, TrainActor, TrainPreference


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


def test_what_a_nested_mapping_leaves_out_is_the_default_of_its_field(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Pair:
        rate: float = 0.5
        count: int = 1

    @dataclasses.dataclass(frozen=True)
    class Holder:
        pair: Pair = dataclasses.field(default_factory=lambda: Pair(count=7))

    assert read_config(Holder, write(tmp_path, "pair: {rate: 2.0}")).pair == Pair(2.0, 7)
    assert read_config(Holder, write(tmp_path, "pair: {count: 3}")).pair == Pair(0.5, 3)
    assert read_config(Holder, write(tmp_path, "{}")).pair == Pair(0.5, 7)


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
        ("nam: a", "unknown field 'nam', did you mean 'name'; Outer has name, names, inner"),
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
    with pytest.raises(InputError, match=r"no configuration file .*none\.yaml"):
        read_config(Outer, tmp_path / "none.yaml")


PUBLISHED_TASKS = (
    "aime2024",
    "aime2025",
    "arc-challenge",
    "arc-easy",
    "gpqa",
    "gsm8k",
    "humanevalplus",
    "mbppplus",
    "medqa",
)
RECIPES = Path(__file__).resolve().parents[1] / "recipes"
TEAM_RECIPES = [f"{task}-{topology}.yaml" for task in PUBLISHED_TASKS for topology in ("sequential", "hierarchical")]
KINDS = {
    "alfworld-mini/actor.yaml": TrainActor,
    "alfworld-mini/arms.yaml": Compare,
    "alfworld-mini/base.yaml": TrainActor,
    "alfworld-mini/compress-arms.yaml": Compare,
    "alfworld-mini/compress-arms-all.yaml": Compare,
    "alfworld-mini/compress-arms-draws.yaml": Compare,
    "alfworld-mini/compress-arms-few.yaml": Compare,
    "alfworld-mini/compress.yaml": Compress,
    "alfworld-mini/evaluate.yaml": Evaluate,
    "alfworld-mini/latency.yaml": EvaluateLatency,
    "alfworld-mini/llama-base.yaml": TrainActor,
    "alfworld-mini/preference.yaml": TrainPreference,
    "alfworld-mini/scout.yaml": TrainScout,
    "alfworld-mini/thoughts.yaml": CollectThoughts,
    "alfworld-mini/variants.yaml": Evaluate,
    "alfworld-smollm2/actor.yaml": TrainActor,
    "alfworld-smollm2/base.yaml": TrainActor,
    "alfworld-smollm2/compress.yaml": Compress,
    "alfworld-smollm2/evaluate.yaml": Evaluate,
    "alfworld-smollm2/other-family.yaml": EvaluateCommand,
    "alfworld-smollm2/scout.yaml": TrainScout,
    "alfworld-smollm2/thoughts.yaml": CollectThoughts,
    "interlat/actor.yaml": TrainActor,
    "interlat/baseline.yaml": TrainActor,
    "interlat/collect.yaml": CollectThoughts,
    "interlat/compress.yaml": Compress,
    "interlat/evaluate.yaml": EvaluatePair,
    "latentmas/arithmetic-sequential.yaml": RunTeam,
    **{f"latentmas/{name}": RunTeam for name in TEAM_RECIPES},
    "latentmas/math-own-prompts.yaml": RunTeam,
    "latentmas/real.yaml": RunTeam,
    "latentmas/solver.yaml": TrainActor,
    "math/actor.yaml": TrainActor,
    "math/baseline.yaml": TrainActor,
    "math/collect.yaml": CollectThoughts,
    "math/compress.yaml": Compress,
    "math/evaluate.yaml": EvaluateCommand,
    "math/mini/actor.yaml": TrainActor,
    "math/mini/base.yaml": TrainActor,
    "math/mini/compress.yaml": Compress,
    "math/mini/evaluate.yaml": EvaluateCommand,
    "math/mini/thoughts.yaml": CollectThoughts,
}


def test_every_recipe_file_is_known():
    assert {str(path.relative_to(RECIPES)) for path in RECIPES.rglob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_recipe_fills_its_command(name):
    assert isinstance(read_config(KINDS[name], RECIPES / name), KINDS[name])


def test_lists_in_a_mapping_are_tuples_too():
    arms = read_config(Compare, RECIPES / "alfworld-mini/arms.yaml").arms
    assert all(isinstance(trainings, tuple) for trainings in arms.values())


def test_the_published_weights_are_those_of_the_preset():
    compression = read_config(Compress, RECIPES / "interlat/compress.yaml")
    (latent_steps,) = compression.latent_steps
    assert compression.losses == CompressionWeights.published(latent_steps)
    assert read_config(TrainActor, RECIPES / "interlat/actor.yaml").losses == BranchWeights.published()


@dataclasses.dataclass(frozen=True)
class Every:
    rate: float = 0.5
    count: int = 1
    limit: int | None = None
    seed: int = 0
    grade: bool = False
    kind: Literal["full", "compressed"] = "full"
    layers: tuple[int, ...] = ()
    arms: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    place: str = ""
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("text", "field", "value", "expected"),
    [
        ("rate: high", "rate", "'high'", "a number"),
        ("rate: true", "rate", "True", "a number"),
        ("count: 2.5", "count", "2.5", "a whole number"),
        ("limit: many", "limit", "'many'", "a whole number or null"),
        ("seed: true", "seed", "True", "a whole number"),
        ("grade: yess", "grade", "'yess'", "true or false"),
        ("kind: compresed", "kind", "'compresed'", "one of full, compressed, did you mean 'compressed'"),
        ("kind: 3", "kind", "3", "one of full, compressed"),
        ("layers: -1", "layers", "-1", "a list of a whole number"),
        ("layers: [1, 1.5]", "layers[1]", "1.5", "a list of a whole number"),
        ("arms: {a: b}", "arms[a]", "'b'", "a mapping to a list of text"),
        ("place: [a]", "place", "['a']", "text"),
        ("place: 7", "place", "7", "text"),
        ("inner: {rate: fast}", "inner.rate", "'fast'", "a number"),
    ],
)
def test_a_value_of_another_type_names_file_field_value_and_choices(tmp_path, text, field, value, expected):
    with pytest.raises(InputError) as error:
        read_config(Every, write(tmp_path, text))
    assert str(error.value) == f"{tmp_path / 'c.yaml'}: {field} is {value}, expected {expected}; correct it"


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    config = read_config(Every, write(tmp_path, "rate: 1e-5\ncount: '3'\ninner: {rate: 2e1}"))
    assert (config.rate, config.count, config.inner.rate) == (1e-5, 3, 20.0)
    assert type(read_config(Every, write(tmp_path, "rate: 2")).rate) is int, "the hash of a configuration stays"


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "place: ~/data")
    assert read_config(Every, "~/c.yaml").place == str(tmp_path / "data")


@pytest.mark.parametrize("content", ["place: caf\xe9".encode("latin-1"), "place: a".encode("utf-16")])
def test_a_file_that_is_not_utf8_is_one_line(tmp_path, content):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"c\.yaml is not UTF-8"):
        read_config(Every, tmp_path / "c.yaml")


def test_broken_yaml_names_its_line_and_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match=r"c\.yaml, line 2, column \d+ is not valid YAML"):
        read_config(Every, write(tmp_path, "rate: 1\nlayers: [1"))
    with pytest.raises(InputError, match="is a folder"):
        read_config(Every, tmp_path)


@pytest.mark.parametrize(
    ("kind", "text", "field"),
    [
        (TrainActor, "schedule: {adapter_learning_rate: fast}", "schedule.adapter_learning_rate"),
        (TrainActor, "thoughts: sgt", "thoughts"),
        (TrainActor, "trained: low-rank", "finetune"),
        (TrainActor, "schedule: {keep: bets}", "schedule.load_best_at_end"),
        (TrainActor, "finetune: low-rank", "finetune"),
        (TrainActor, "schedule: {load_best_at_end: bets}", "schedule.load_best_at_end"),
        (TrainActor, "precision: bf16", "precision"),
        (CollectThoughts, "method: compresed", "method"),
        (CollectThoughts, "state_at: predict", "state_at"),
        (CollectThoughts, "norm: posst", "norm"),
        (CollectThoughts, "grade: yess", "grade"),
        (CollectThoughts, "encoding: int4", "encoding"),
        (CollectThoughts, "prompt: {ask: slove}", "prompt.ask"),
        (CollectThoughts, "sampling: {temperature: high}", "sampling.temperature"),
        (RunTeam, "variants: single", "variants"),
    ],
)
def test_typing_mistakes_in_real_configurations_are_refused(tmp_path, kind, text, field):
    with pytest.raises(InputError, match=rf"c\.yaml: {field} is "):
        read_config(kind, write(tmp_path, text))


@dataclasses.dataclass(frozen=True)
class Renamed:
    """A class with a field that had another name."""

    RENAMED: ClassVar[Mapping[str, str]] = {"pass_size": "micro_batch_size"}
    micro_batch_size: int = 8


def test_older_names_of_fields_are_read():
    assert from_mapping(Renamed, {"pass_size": 4}, "old.yaml") == Renamed(4)
    assert from_mapping(Renamed, {"micro_batch_size": 4}, "new.yaml") == Renamed(4)
    with pytest.raises(InputError, match="'pass_size' is the older name of 'micro_batch_size'"):
        from_mapping(Renamed, {"pass_size": 4, "micro_batch_size": 4}, "both.yaml")


def fields_of(kind, path=()):
    """(path, type, whether the class checks it) of every field of a settings class, also inside."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        yield (*path, field.name), hints[field.name], CHECKED_BY_CLASS in field.metadata
        for inner in dataclasses_of(hints[field.name]):
            yield from fields_of(inner, (*path, field.name))


WRONG = {
    str: (7, ["a"], {"a": 1}, True),
    int: ("many", 2.5, [1], {"a": 1}, True),
    float: ("fast", [1.0], {"a": 1}, False),
    bool: ("yess", 7, [True]),
    tuple: ("text", 7, 0.5),
    dict: ("text", 7, ["a"]),
    Literal: ("nonsense", 3, ["a"]),
}
EVERY = [
    pytest.param(COMMANDS[name], path, hint, id=f"{name}:{'.'.join(path)}")
    for name in COMMANDS.names()
    for path, hint, free in fields_of(COMMANDS[name])
    if not free
]


def wrong_values(hint):
    if dataclasses_of(hint):
        return ("text", 7, ["a"])
    kinds = {typing.get_origin(one) or one for one in alternatives(hint)}
    wrong = {**WRONG, Mapping: WRONG[dict]}
    return [value for kind in kinds - {type(None)} for value in wrong[kind] if not fits(value, kinds)]


def fits(value, kinds):
    return (str in kinds and isinstance(value, str)) or (float in kinds and isinstance(value, float))


@pytest.mark.parametrize(("kind", "path", "hint"), EVERY)
def test_a_wrong_type_in_any_field_of_any_command_is_one_line_that_names_it(kind, path, hint):
    for value in wrong_values(hint):
        fields = value
        for name in reversed(path):
            fields = {name: fields}
        with pytest.raises(InputError) as error:
            from_mapping(kind, fields, "c.yaml")
        text = str(error.value)
        assert text.startswith(f"c.yaml: {'.'.join(path)}") and "\n" not in text
        if not dataclasses_of(hint):
            assert "expected" in text


@pytest.mark.parametrize(("kind", "path", "hint"), [one for one in EVERY if not dataclasses_of(one.values[2])])
def test_a_wrong_word_in_any_flag_of_any_command_is_one_line_that_names_it(kind, path, hint):
    kinds = {typing.get_origin(one) or one for one in alternatives(hint)}
    if not kinds & {str, tuple, dict}:
        flag = f"--{'.'.join(path).replace('_', '-')}"
        with pytest.raises(InputError, match=re.escape(flag)) as error:
            parse(kind, [f"{flag}=nonsense"])
        assert "expected" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in COMMANDS.names() if not name.endswith(".list")])
@settings(max_examples=10)
@given(data())
def test_a_mistyped_key_is_named_and_the_right_one_is_guessed(name, draw):
    kind = COMMANDS[name]
    path, _, _ = draw.draw(sampled_from([one for one in fields_of(kind) if len(one[0][-1]) > 4]))
    place = draw.draw(integers(1, len(path[-1]) - 1))
    typo = path[-1][: place - 1] + path[-1][place:]
    known = {other[-1] for other, _, _ in fields_of(kind) if other[:-1] == path[:-1]}
    if typo in known:
        return
    fields = {typo: 1}
    for outer in reversed(path[:-1]):
        fields = {outer: fields}
    with pytest.raises(InputError) as error:
        from_mapping(kind, fields, "c.yaml")
    assert f"unknown field {typo!r}, did you mean " in str(error.value)
    assert str(error.value).startswith(": ".join(["c.yaml", *([".".join(path[:-1])] if path[:-1] else [])]))


@dataclasses.dataclass(frozen=True)
class File:
    path: str
    kind: Literal["file"] = "file"


@dataclasses.dataclass(frozen=True)
class Generated:
    RENAMED: ClassVar[Mapping[str, str]] = {"number": "count"}
    count: int = 3
    kind: Literal["generated"] = "generated"


Source = Annotated[File | Generated, Field(discriminator="kind")]


@dataclasses.dataclass(frozen=True)
class WithUnion:
    source: Source
    others: tuple[Source, ...] = ()
    maybe: File | None = None


def test_a_union_is_the_class_that_its_discriminator_names():
    fields = {"source": {"kind": "file", "path": "p"}, "others": [{"kind": "generated", "number": 2}], "maybe": None}
    assert from_mapping(WithUnion, fields, "c.yaml") == WithUnion(File("p"), (Generated(2),))


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ({"kind": "fil"}, ["source.kind is 'fil'", "file, generated", "did you mean 'file'"]),
        ({"path": "p"}, ["source.kind is None", "file, generated"]),
        ({"kind": "file", "path": "p", "count": 3}, ["source.count is for kind generated"]),
        ({"kind": "file"}, ["source needs path"]),
        ({"kind": "generated", "count": "x"}, ["source.count is 'x'", "a whole number"]),
        ("p", ["source"]),
    ],
)
def test_a_mistake_in_a_union_is_named(source, parts):
    with pytest.raises(InputError) as error:
        from_mapping(WithUnion, {"source": source}, "c.yaml")
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_configurations_of_older_versions_are_read():
    common = {"thoughts": ["t"], "output": "o", "trained": "low_rank", "low_rank": {"rank": 2}}
    schedule = {"keep": "best", "pass_size": 3, "gradient_clip": 0.5, "validate_every": 7}
    losses = {"separation": 0.5, "alignment": 0.05, "adaptive": True}
    fields = {**common, "message": "latent", "start": "m", "schedule": schedule, "losses": losses}
    actor = from_mapping(TrainActor, fields, "old.yaml")
    assert (actor.finetune, actor.lora.rank, actor.losses) == ("lora", 2, BranchWeights.published())
    found = actor.schedule
    assert (found.load_best_at_end, found.micro_batch_size, found.max_grad_norm, found.eval_every) == (True, 3, 0.5, 7)
    fields = {**common, "thoughts": "t", "receiver": "r", "sender": "s", "played": ["p"], "corrected": True}
    fields |= {"schedule": {"keep": "last"}, "losses": {"agreement": 2, "direction": 0, "floor": 0.3}}
    sender = from_mapping(Compress, fields, "old.yaml")
    assert (sender.on_policy, sender.dagger, sender.finetune) == (("p",), True, "lora")
    assert not sender.schedule.load_best_at_end and sender.losses.min_position_weight == 0.3
    fields = {"start": "a", "thoughts": "t", "trajectories": "x", "output": "o", "trained": "everything"}
    preference = from_mapping(TrainPreference, fields, "old.yaml")
    assert preference.finetune == "full" and preference.schedule.load_best_at_end
