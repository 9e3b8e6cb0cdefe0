import json

import pytest

from interlat.errors import StorageError
from interlat.results import RESULT_KEY, read_results


def line(item, variant="text", config_hash="a", **more):
    return {"item": item, "variant": variant, "config_hash": config_hash, **more}


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_each_result_counts_once_as_it_stands_first(tmp_path):
    one = write(tmp_path / "results.jsonl", line("1", n=1), line("2", n=2), line("1", n=3), line("1", "latent", n=4))
    two = write(tmp_path / "results-1.jsonl", line("2", n=5), line("1", config_hash="b", n=6), line("2", n=7))
    found = read_results([one, two])
    assert [record["n"] for record in found.records] == [1, 2, 4, 6] and found.repeated == 3
    assert found.note.startswith(f"3 lines repeat results in {tmp_path}: perhaps two")
    own = read_results([one, two, tmp_path / "none.jsonl"], "b")
    assert [record["n"] for record in own.records] == [6] and own.note == ""
    assert read_results([one], "a").note.startswith(f"1 line repeats a result in {one}")


def test_repeats_of_a_measurement_are_no_repeated_lines(tmp_path):
    path = write(tmp_path / "latency.jsonl", *(line("1", repeat=repeat) for repeat in (0, 1, 1)))
    found = read_results([path], fields={"repeat": int}, key=(*RESULT_KEY, "repeat"))
    assert len(found.records) == 2 and found.repeated == 1


@pytest.mark.parametrize("foreign", [5, {"item": "1"}, {"item": ["1"], "variant": "text", "config_hash": "a"}])
def test_a_line_that_is_no_result_is_named(tmp_path, foreign):
    path = write(tmp_path / "results.jsonl", line("1"), foreign)
    with pytest.raises(StorageError, match=f"line 2 of {path} is .*config_hash"):
        read_results([path])


@pytest.mark.parametrize("success", [1, "yes", None])
def test_a_result_of_ones_own_has_all_that_is_read(tmp_path, success):
    path = write(tmp_path / "results.jsonl", line("1", config_hash="b"), line("1", success=success, seconds=3))
    with pytest.raises(StorageError, match=f"{path} has a result of 1 with success {success!r}, expected bool"):
        read_results([path], "a", fields={"seconds": float, "success": bool})
