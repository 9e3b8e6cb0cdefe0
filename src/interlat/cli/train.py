"""The commands that make a model or a tokenizer: `interlat train ...`, `interlat compress`, `import-checkpoint`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tyro.conf import Positional

from interlat.choices import TokenizerFamily
from interlat.errors import InputError
from interlat.files import atomic_folder
from interlat.progress import say
from interlat.states import StateAtSetting
from interlat.store.manifest import read_manifest
from interlat.training.settings import Compress, Tracking, TrainActor, TrainPreference


class _Training(Tracking):
    def report(self, model: Path) -> None:
        """Nothing beyond what the training said."""


@dataclass(frozen=True)
class TrainActorCommand(_Training, TrainActor):
    """Train an actor on expert episodes or conversations, with messages of one kind.

    Under torchrun the model is split over the processes.
    """

    def run(self) -> Path:
        for store in self.thoughts:
            read_manifest(store)
        from interlat.report.training_run import shown_training
        from interlat.training.actor import train_actor

        return shown_training(train_actor, self, f"actor ({self.message})")


@dataclass(frozen=True)
class TrainPreferenceCommand(_Training, TrainPreference):
    """Train an actor with DPO on pairs of a won and a lost trajectory with the same message."""

    def run(self) -> Path:
        read_manifest(self.thoughts)
        from interlat.report.training_run import shown_training
        from interlat.training.preference import load_preferences, train_preference

        data = load_preferences(self)
        say(data.counts)
        return shown_training(lambda config, _: train_preference(config, data), self, "actor (preference)")


@dataclass(frozen=True)
class CompressCommand(_Training, Compress):
    """Train the sender to emit a few latents instead of text, against a frozen receiver.

    Under torchrun the models are split over the processes.
    """

    def run(self) -> Path:
        read_manifest(self.thoughts)
        from interlat.report.training_run import shown_training
        from interlat.training.compression import compress

        return shown_training(compress, self, f"compressed sender ({self.method})")


@dataclass(frozen=True)
class TrainTokenizer:
    """Train a byte-level tokenizer with a chat template on collected episodes or conversations."""

    output: str
    """Folder of the tokenizer."""
    episodes: str = ""
    """``episodes.jsonl`` of the training games."""
    conversations: str = ""
    """Instead of episodes: a file of conversations that begin with their task.
    `interlat collect lessons` writes such files."""
    vocabulary_size: int = 1500
    """Upper bound of the number of tokens."""
    family: TokenizerFamily = "qwen2"
    """Format of conversations. qwen2: as in Qwen 2 (ChatML). llama: as in Llama 3."""

    def __post_init__(self) -> None:
        if bool(self.episodes) == bool(self.conversations):
            raise InputError("the tokenizer is trained on episodes or on conversations; give one of the two files")

    def run(self) -> Any:
        from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE
        from interlat.experiments.tokenizer import train_tokenizer

        specials, numbered = (BEGIN_MESSAGE, END_MESSAGE), bool(self.episodes)
        tokenizer = train_tokenizer(self._texts(), self.vocabulary_size, specials, self.family, numbered)
        with atomic_folder(self.output) as temporary:
            tokenizer.save_pretrained(temporary)
            others = {path.name for path in Path(self.output).glob("*")} - {path.name for path in temporary.iterdir()}
            if others:
                raise InputError(f"{self.output} holds other files than a tokenizer ({min(others)}); give a new folder")
        return tokenizer

    def _texts(self) -> Iterable[str]:
        from interlat.experiments.household.episodes import read_episodes, texts_of
        from interlat.tasks.conversations import load_conversations

        if self.episodes:
            return texts_of(read_episodes(self.episodes))
        tasks = load_conversations(self.conversations, task_turn=0).tasks
        return [turn["value"] for task in tasks for turn in task.metadata["conversations"]]

    def report(self, tokenizer: Any) -> None:
        say(f"tokenizer with {len(tokenizer)} tokens in {self.output}")


@dataclass(frozen=True)
class ImportCheckpoint:
    """Convert a checkpoint that the published Interlat code saved into an actor."""

    RENAMED: ClassVar[Mapping[str, str]] = {"offset": "state_at"}

    source: Positional[str]
    """Folder that the published training code wrote."""
    output: str
    """Folder for the actor. It must be new or empty."""
    state_at: StateAtSetting
    """Which state of each token the messages held. The checkpoint does not record it.
    The published ALFWorld data are after_token, the MATH data before_token."""
    base: str = ""
    """Folder or hub id of the language model, for a checkpoint that was saved without it."""
    json: bool = False
    """Print one JSON object on stdout."""

    def run(self) -> list[str]:
        from interlat.training.published import import_checkpoint

        return import_checkpoint(self.source, self.output, self.state_at, base=self.base)

    def report(self, unreliable: list[str]) -> None:
        for sentence in unreliable:
            say(f"unreliable: {sentence}")
        say(f"actor in {self.output}")
        if self.json:
            print(json.dumps({"output": self.output, "unreliable": unreliable}, ensure_ascii=False))
