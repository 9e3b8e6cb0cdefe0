import json

import pytest

from benchmarks import house
from benchmarks.__main__ import main


def test_the_house_is_counted_by_hand(capsys):
    assert main(["house", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lines = sum(len(path.read_text().splitlines()) for path in (house.PACKAGE / "engine").rglob("*.py"))
    assert found["parts"]["engine"] == lines and found["library"] == sum(found["parts"].values())
    everything = sum(len(path.read_text().splitlines()) for path in house.PACKAGE.rglob("*.py"))
    assert found["library"] + found["experiments"] == everything and found["household"] <= found["experiments"]


def test_no_library_module_but_the_front_door_and_the_command_line_knows_an_experiment():
    assert set(house.importers_of_experiments()) <= {"__init__.py", "cli/train.py"}


@pytest.mark.parametrize("concept", house.CONCEPTS)
def test_a_concept_has_one_home(concept):
    assert len(house.homes_of(house.CONCEPTS[concept])) == 1, house.homes_of(house.CONCEPTS[concept])


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit) as error:
        main(["nothing"])
    assert error.value.code == 2 and "engine" in capsys.readouterr().err
