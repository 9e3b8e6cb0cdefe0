"""Settings of `interlat collect`. They need no torch, so that the command line can read them at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from interlat.agents.settings import with_thinking
from interlat.agents.sources import PromptOptions
from interlat.choices import Encoding
from interlat.engine.options import Sampling, TemplateOptions
from interlat.errors import InputError
from interlat.states import Norm, StateAtSetting
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.sources import TaskSource

if TYPE_CHECKING:
    from interlat.connectors.bridge import Bridge


@dataclass(frozen=True)
class Filters:
    """Conditions for a message to be kept. Dropped ones are counted and named with a reason."""

    finished: bool = False
    """Keep only messages that the model ended by itself."""
    correct: bool = False
    """Keep only messages with a right answer. The tasks must have answers."""
    min_tokens: int = 0
    """Keep only messages with at least this many tokens."""
    max_tokens: int | None = None
    """Keep only messages with at most this many tokens. None sets no limit."""

    def __post_init__(self) -> None:
        if self.min_tokens < 0 or (self.max_tokens is not None and self.max_tokens < max(1, self.min_tokens)):
            raise InputError(f"lengths from {self.min_tokens} to {self.max_tokens} tokens leave nothing; correct them")

    def reason_against(self, tokens: int, stopped: bool, verdict: Verdict | None) -> str:
        """Why a thought is left out; empty if it is kept."""
        if self.finished and not stopped:
            return f"not finished after {tokens} tokens"
        if tokens < self.min_tokens:
            return f"too short: {tokens} tokens"
        if self.max_tokens is not None and tokens > self.max_tokens:
            return f"too long: {tokens} tokens"
        if self.correct and verdict is not None and not verdict.correct:
            return f"wrong answer ({verdict.how})"
        return ""


@dataclass(frozen=True)
class CollectThoughts:
    """Run a model on tasks and save its hidden states in a latent store."""

    RENAMED: ClassVar[Mapping[str, str]] = {"offset": "state_at"}

    model: str
    """Folder or hub id of the sender. Any causal language model works."""
    source: TaskSource
    """Where the tasks come from."""
    output: str
    """Folder of the latent store. An existing store is continued."""
    prompt: PromptOptions = field(default_factory=PromptOptions)
    """How a task becomes a prompt."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat template. They override those that the model was trained with."""
    method: Literal["full", "compressed"] = "full"
    """full: the model writes text, and one state is kept for each token.
    compressed: the model takes latent steps and writes no text."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    """full: how the model decodes. The default is greedy."""
    samples: int = 1
    """full: number of messages for each task, each with its own seed."""
    latent_steps: int = 8
    """compressed: number K of latent steps."""
    align: Literal["auto", "bridge", "identity"] = "auto"
    """compressed: the map from a state to the next input.
    bridge: the bridge of a compressed sender, which also makes the latents. identity: untrained and norm-matched.
    auto: the bridge if the model has one, else identity."""
    layers: tuple[int, ...] = (-1,)
    """Layers whose states are kept. 1 is the first, -1 the last."""
    norm: Norm = "post"
    """Take the states of the last layer after (post) or before (pre) the final norm."""
    state_at: StateAtSetting = "before_token"
    """full: which state is kept for a token. before_token: the state that predicted it.
    after_token: the state that had just read it."""
    prompt_states: bool = False
    """Also keep the states of the prompt."""
    filters: Filters = field(default_factory=Filters)
    """Which messages are kept."""
    grade: bool = False
    """Grade each answer and save the verdict in the metadata. The tasks must have answers."""
    seed: int = 0
    """Seed of the samples."""
    limit: int | None = None
    """Use a fixed random subset of this many tasks."""
    batch_size: int = 16
    """Number of messages computed at once.
    In bfloat16 and float16 a message depends slightly on the others in its batch. See ``exact``."""
    exact: bool = False
    """Compute every message alone.
    In any number format it is then the same bit for bit, whatever ran before and after a kill. This is slower."""
    engine: str = "hf"
    """The engine that runs the model. hf: the reference. recurrent: for layers that keep a state. vllm: vLLM.
    Or an engine of another package."""
    dtype: str = "auto"
    """Number format that the model computes in."""
    device: str = "auto"
    """Device that the model runs on."""
    store_dtype: str = "auto"
    """Number format of the stored states. auto keeps the one that they were computed in."""
    encoding: Encoding = "plain"
    """plain stores numbers as they are. int8 and float8 store a number in one byte, with one scale per latent."""
    shard_megabytes: int = 256
    """Size of one shard file in megabytes."""
    retry_failed: bool = False
    """Retry the items that failed in an earlier run."""
    threads: int | None = None
    """Number of torch threads on a CPU. None leaves torch's default."""
    trust_remote_code: bool = False
    """Let transformers run code that the checkpoint contains."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.batch_size < 1 or self.shard_megabytes < 1:
            raise InputError("samples, batch_size and shard_megabytes must be at least 1")
        with_thinking(self.prompt.thinking, self.template)
        is_compressed = self.method == "compressed"
        if is_compressed and self.latent_steps < 1:
            raise InputError(f"latent_steps is {self.latent_steps}; use at least 1")
        is_answered = self.samples > 1 or self.grade or self.filters != Filters() or self.state_at != "before_token"
        if is_compressed and is_answered:
            raise InputError(
                "latent steps are neither sampled nor answers: leave samples, grade, filters and state_at as they are"
            )
        if self.samples > 1 and self.sampling.temperature == 0:
            raise InputError(f"{self.samples} greedy samples of a task would be the same; set sampling.temperature")

    @property
    def rows_at_once(self) -> int:
        """Thoughts in one batch."""
        return 1 if self.exact else self.batch_size

    def bridge(self) -> "Bridge | None":
        """The bridge that the latent steps go through; None where they take the identity, or there are none.

        Raises:
            CheckpointError: a bridge is asked for and the model has none, or it is damaged.
            InputError: it makes other latents than the settings ask for.
        """
        from interlat.connectors.bridge import Bridge
        from interlat.engine.checkpoint import companion_file
        from interlat.engine.recorder import LayerSelection

        if self.method == "full" or self.align == "identity":
            return None
        file = companion_file(self.model, Bridge.FILE)
        if file is None and self.align == "auto":
            return None
        if LayerSelection(self.layers, self.norm) != LayerSelection() or self.prompt_states:
            raise InputError(
                "a compressed sender makes one latent a step: leave layers, norm and prompt_states as they are"
            )
        return Bridge.load(self.model if file is None else file.parent)
