import dataclasses
import json

import pytest

from interlat.errors import StorageError
from interlat.store.manifest import MANIFEST_FILE, KeptLayer, Manifest, read_manifest, running_version


def test_a_manifest_comes_back_as_it_was(tmp_path):
    manifest = Manifest(
        hidden_size=4,
        layers=(KeptLayer(-1, "post"), KeptLayer(-3, "pre")),
        state_at="after_token",
        dtype="bfloat16",
        encoding="int8",
        settings={"sampling": {"temperature": 0.7}, "filters": (1, 2)},
    )
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert manifest.row_shape == (2, 4) and Manifest(hidden_size=4).row_shape == (4,)


def test_differences_name_the_setting_and_leave_names_and_versions_out():
    one = Manifest(hidden_size=4, model="here", settings={"seed": 0, "samples": 2})
    other = dataclasses.replace(one, model="there", code_version="x", settings={"seed": 1, "samples": 2})
    assert one.differences(other) == ["settings.seed"]
    assert one.differences(dataclasses.replace(one, state_at="after_token", dtype="float16")) == ["state_at", "dtype"]
    assert one.differences(dataclasses.replace(other, state_at="after_token"), ("state_at",)) == ["state_at"]


def test_stores_of_one_fingerprint_differ_in_names_and_versions_only():
    one = Manifest(hidden_size=4, model="here", settings={"seed": 0})
    assert one.fingerprint == dataclasses.replace(one, model="there", code_version="x").fingerprint
    for change in ({"state_at": "after_token"}, {"settings": {"seed": 1}}, {"weights_fingerprint": "w"}):
        assert one.fingerprint != dataclasses.replace(one, **change).fingerprint


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(StorageError, match="no latent store"):
        read_manifest(tmp_path)
    Manifest(hidden_size=4).write(tmp_path)
    path = tmp_path / MANIFEST_FILE
    content = json.loads(path.read_text())
    for change, words in (
        ({"format_version": 9}, "version 9"),
        ({"encoding": "zip"}, "encoding is 'zip'"),
        ({"colour": "red"}, "damaged"),
        ({"hidden_size": 0}, "holds nothing"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(StorageError, match=words):
            read_manifest(tmp_path)
    path.write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        read_manifest(tmp_path)


def test_the_version_names_the_commit_in_a_checkout():
    assert running_version().startswith("0.")
