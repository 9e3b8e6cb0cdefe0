"""Every stage that hands the states of one model to another refuses a pair that does not fit, in one line.

Evaluations have their own tests, `tests/evaluation/test_pairing.py`.
"""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import interlat
from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.connectors.adapter import CommunicationAdapter
from interlat.engine.sampling import Sampling
from interlat.errors import InputError, InterlatError, MessageError, StorageError
from interlat.experiments.household.collect_trajectories import CollectTrajectories, collect_trajectories
from interlat.store.index import write_seal
from interlat.store.manifest import KeptLayer, read_manifest
from interlat.store.merge import merge
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from interlat.training.actor import train_actor
from interlat.training.compression import compress
from interlat.training.options import Schedule, SmallModel
from interlat.training.preference import train_preference
from interlat.training.settings import Compress, TrainActor, TrainPreference
from interlat.training.trajectories import PreferenceData

ONE_STEP = Schedule(steps=1, batch_size=4, warmup_steps=1)

# A stage with a receiver and a store that does not fit it.
Stage = Callable[[Any, str, str, Path], object]
READERS: dict[str, Stage] = {
    "reply": lambda pipeline, actor, store, output: interlat.load(actor, dtype="float32").reply(
        "Find it.", longest(store)
    ),
    "collect trajectories": lambda pipeline, actor, store, output: list(
        collect_trajectories(CollectTrajectories(actor, store, str(output)))
    ),
    "train preference": lambda pipeline, actor, store, output: list(
        train_preference(TrainPreference(actor, store, "", str(output)), PreferenceData([], [], ""))
    ),
    "compress, reasoner": lambda pipeline, actor, store, output: list(
        compress(Compress(actor, store, str(output), sender=str(pipeline.scout), schedule=ONE_STEP))
    ),
    "compress, resampler": lambda pipeline, actor, store, output: list(
        compress(Compress(actor, store, str(output), method="resampler", schedule=ONE_STEP))
    ),
}
# What the manifest of the store says, and the name of it in the error.
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "weights": ({"weights_fingerprint": "0" * 64}, "weights"),
    "tokenizer": ({"tokenizer_fingerprint": "0" * 64}, "tokenizer"),
    "layer": ({"layers": (KeptLayer(-2, "post"),)}, "layer is -2"),
    "norm": ({"layers": (KeptLayer(-1, "pre"),)}, "norm is pre"),
    "state_at": ({"state_at": "after_token"}, "state_at is after_token"),
}


def longest(store: str) -> interlat.HiddenMessage:
    opened = LatentStore.open(store)
    return opened.message(opened.lengths.index(max(opened.lengths)))


def altered(store: Path, target: Path, changes: dict[str, Any]) -> str:
    """A copy of a store whose manifest says something else."""
    shutil.copytree(store, target)
    dataclasses.replace(read_manifest(target), **changes).write(target)
    write_seal(target, len(LatentStore.open(store)))
    return str(target)


def refused(kind: type[InterlatError], word: str, stage: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        stage()
    assert word in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stage", READERS)
def test_a_store_that_the_receiver_cannot_read_is_refused(
    stage: str, fault: str, pipeline: Any, tmp_path: Path
) -> None:
    changes, word = FAULTS[fault]
    store = altered(pipeline.thoughts, tmp_path / "store", changes)
    actor = str(pipeline.actors["latent"])
    refused(MessageError, word, lambda: READERS[stage](pipeline, actor, store, tmp_path / "out"))


@pytest.mark.parametrize("stage", READERS)
@pytest.mark.parametrize(
    ("change", "word"), [({"source_size": 24, "project_input": True}, "size"), ({"max_rows": 3}, "at most 3")]
)
def test_latents_of_another_size_and_too_many_are_refused(
    stage: str, change: dict[str, Any], word: str, pipeline: Any, tmp_path: Path
) -> None:
    actor = tmp_path / "actor"
    shutil.copytree(pipeline.actors["latent"], actor)
    config = CommunicationAdapter.load(actor).config
    CommunicationAdapter(dataclasses.replace(config, **change)).save(actor)
    store = str(pipeline.thoughts)
    refused(MessageError, word, lambda: READERS[stage](pipeline, str(actor), store, tmp_path / "out"))


@pytest.mark.parametrize("fault", FAULTS)
def test_stores_of_different_states_are_not_merged(fault: str, pipeline: Any, tmp_path: Path) -> None:
    changes, _ = FAULTS[fault]
    store = altered(pipeline.thoughts, tmp_path / "store", changes)
    field = next(iter(changes))
    refused(InputError, field, lambda: merge([pipeline.thoughts, store], tmp_path / "out"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_of_different_states_is_not_continued(fault: str, pipeline: Any, tmp_path: Path) -> None:
    changes, _ = FAULTS[fault]
    store = altered(pipeline.thoughts, tmp_path / "store", changes)
    source, short = TaskSource("alfworld", str(pipeline.episodes)), Sampling(max_new_tokens=12)
    config = CollectThoughts(str(pipeline.scout), source, store, sampling=short, batch_size=6)
    refused(StorageError, next(iter(changes)), lambda: list(collect_thoughts(config)))


@pytest.mark.parametrize("fault", ["weights", "layer", "norm"])
def test_thoughts_that_the_head_of_the_sender_cannot_read_align_no_adapter(
    fault: str, pipeline: Any, tmp_path: Path
) -> None:
    changes, _ = FAULTS[fault]
    store = altered(pipeline.thoughts, tmp_path / "store", changes)
    config = TrainActor(
        str(tmp_path / "out"),
        None,
        "latent",
        thoughts=(store,),
        sender=str(pipeline.scout),
        tokenizer=str(pipeline.root / "tokenizer"),
        model=SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16),
        adapter_heads=2,
        validation_share=0.2,
        schedule=ONE_STEP,
    )
    refused(InputError, "did not make" if fault == "weights" else "layer", lambda: list(train_actor(config)))


@pytest.mark.parametrize("fault", ["weights", "layer", "norm", "state_at"])
def test_a_compressed_sender_of_other_latents_is_not_trained_further(
    fault: str, pipeline: Any, short: dict[str, str], tmp_path: Path
) -> None:
    changes, _ = FAULTS[fault]
    store = altered(pipeline.thoughts, tmp_path / "store", changes)
    manifest, actor = read_manifest(store), tmp_path / "actor"
    shutil.copytree(pipeline.actors["latent"], actor)
    config = CommunicationAdapter.load(actor).config
    reads = {"sender_fingerprints": (manifest.weights_fingerprint,), "state_at": manifest.state_at}
    layer = dataclasses.asdict(manifest.layers[0])
    CommunicationAdapter(dataclasses.replace(config, **reads, **layer)).save(actor)
    settings = Compress(str(actor), store, str(tmp_path / "out"), sender=short["compressed"], schedule=ONE_STEP)
    refused(InputError, "sender_fingerprint" if fault == "weights" else fault, lambda: list(compress(settings)))
