import os

import pytest

from interlat.agents.sources import TaskSource
from interlat.errors import InterlatError, StorageError
from interlat.evaluation.teams import EvaluateTeams, evaluate_teams
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.collect_trajectories import CollectTrajectories, collect_trajectories
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold, evaluate_household
from interlat.experiments.household.latency import MeasureLatency, measure_latency
from interlat.experiments.household.train_scout import TrainScout, train_scout
from interlat.files import locked
from interlat.training.actor import TrainActor, train_actor
from interlat.training.compression import Compress, compress
from interlat.training.preference import TrainPreference, train_preference

NONE = "/none/none"


STAGES = {
    "actor": lambda out: train_actor(TrainActor(out, NONE, start=NONE)),
    "scout": lambda out: train_scout(TrainScout(NONE, NONE, NONE, out)),
    "preference": lambda out: train_preference(TrainPreference(NONE, NONE, NONE, out)),
    "compress": lambda out: compress(Compress(NONE, NONE, out, sender=NONE)),
    "team": lambda out: evaluate_teams(EvaluateTeams(NONE, out, TaskSource("arithmetic", count=2))),
    "evaluate": lambda out: evaluate_household(EvaluateHousehold(Checkpoints(*[NONE] * 4), out), []),
    "latency": lambda out: measure_latency(MeasureLatency(Checkpoints(*[NONE] * 4), out, ("text",)), []),
    "trajectories": lambda out: collect_trajectories(CollectTrajectories(NONE, NONE, out)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_never_write_to_one_folder(tmp_path, stage):
    taken = rf"another process \(process {os.getpid()}\) writes to"
    with locked(tmp_path), pytest.raises(StorageError, match=taken):
        list(STAGES[stage](str(tmp_path)))
    # What is refused for another reason leaves nothing of the lock.
    with pytest.raises(InterlatError):
        list(STAGES[stage](str(tmp_path / "new")))
    assert os.listdir(tmp_path) == []


def test_two_processes_never_write_one_file_of_episodes(tmp_path):
    config = CollectEpisodes("none", "train", str(tmp_path / "train.jsonl"))
    with locked(tmp_path, "train.jsonl"), pytest.raises(StorageError, match=r"train\.jsonl; wait for it"):
        list(collect_episodes(config))
