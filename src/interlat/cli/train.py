"""`interlat train actor`, `interlat train preference` and `interlat compress`."""

from dataclasses import dataclass
from pathlib import Path

from interlat.progress import say
from interlat.store.manifest import read_manifest
from interlat.training.settings import Compress, Tracking, TrainActor, TrainPreference


@dataclass(frozen=True)
class TrainActorCommand(Tracking, TrainActor):
    """Train an actor on expert episodes or conversations, with messages of one kind.

    Under torchrun the model is split over the processes.
    """

    def run(self) -> Path:
        """Train; the folder of the model."""
        for store in self.thoughts:
            read_manifest(store)
        from interlat.report.training_run import shown_training
        from interlat.training.actor import train_actor

        return shown_training(train_actor, self, f"actor ({self.message})")

    def report(self, model: Path) -> None:
        """Nothing beyond what the training said."""


@dataclass(frozen=True)
class TrainPreferenceCommand(Tracking, TrainPreference):
    """Train an actor on pairs of a won and a lost trajectory with the same message."""

    def run(self) -> Path:
        """Train; the folder of the model."""
        read_manifest(self.thoughts)
        from interlat.report.training_run import shown_training
        from interlat.training.preference import load_preferences, train_preference

        data = load_preferences(self)
        say(data.counts)
        return shown_training(lambda config, _: train_preference(config, data), self, "actor (preference)")

    def report(self, model: Path) -> None:
        """Nothing beyond what the training said."""


@dataclass(frozen=True)
class CompressCommand(Tracking, Compress):
    """Train the sender to emit a few latents instead of text, against a frozen receiver.

    Under torchrun the models are split over the processes.
    """

    def run(self) -> Path:
        """Train; the folder of the model."""
        read_manifest(self.thoughts)
        from interlat.report.training_run import shown_training
        from interlat.training.compression import compress

        return shown_training(compress, self, f"compressed sender ({self.method})")

    def report(self, model: Path) -> None:
        """Nothing beyond what the training said."""
