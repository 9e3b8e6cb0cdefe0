"""`interlat train tokenizer`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlat.choices import TokenizerFamily
from interlat.errors import InputError
from interlat.files import atomic_folder
from interlat.progress import say


@dataclass(frozen=True)
class TrainTokenizer:
    """Train a byte-level tokenizer with a chat template on collected episodes or conversations."""

    output: str
    """Folder of the tokenizer."""
    episodes: str = ""
    """``episodes.jsonl`` of the training games."""
    conversations: str = ""
    """Instead of episodes: a file of conversations that begin with their task, such as `interlat collect lessons`
    writes."""
    vocabulary_size: int = 1500
    """Upper bound of the number of tokens."""
    family: TokenizerFamily = "qwen2"
    """How a conversation is written: as Qwen 2 does (ChatML) or as Llama 3."""

    def __post_init__(self) -> None:
        if bool(self.episodes) == bool(self.conversations):
            raise InputError("the tokenizer is trained on episodes or on conversations; give one of the two files")

    def run(self) -> Any:
        """Train and save; the tokenizer."""
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
        """How large it is."""
        say(f"tokenizer with {len(tokenizer)} tokens in {self.output}")
