"""The settings of an evaluation of any sender, receiver, environment, channels and controls."""

from dataclasses import dataclass, field
from typing import Literal

from interlat.config import CHECKED_BY_CLASS
from interlat.engine.options import TemplateOptions
from interlat.environments.protocol import read_options
from interlat.errors import InputError
from interlat.places import REMOTE
from interlat.tasks.arithmetic import ArithmeticOptions
from interlat.tasks.records import RecordFields
from interlat.tasks.secret import SecretOptions

ALL = "all"


@dataclass(frozen=True)
class Evaluate:
    """A sender sends messages over channels to a receiver, which acts in an environment.
    Controls replace the messages."""

    sender: str
    """Folder or hub id of the sender. openai:NAME is a model behind an OpenAI-compatible server, for text alone."""
    environment: str
    """What the receiver does. A benchmark: gsm8k, medqa, ... see `interlat tasks list`.
    Generated or own questions: records, conversations, arithmetic, secret.
    An environment of many actions: alfworld, household, textcraft, ... see `interlat environments list`."""
    output: str
    """The run directory. The same command continues an existing run."""
    receiver: str = ""
    """Folder or hub id of the receiver, or openai:NAME. Empty means the sender's model."""
    base_url: str = ""
    """openai:NAME: address of the server, such as http://localhost:8000/v1.
    Empty means $OPENAI_BASE_URL, else OpenAI's own address. The key comes only from $OPENAI_API_KEY."""
    data: tuple[str, ...] = ()
    """Files, folders or hub ids of the items. Empty uses the environment's own data."""
    split: str = ""
    """Split of the data. Empty uses the environment's own choice."""
    options: dict[str, str] = field(default_factory=dict, metadata={CHECKED_BY_CLASS: True})
    """Further options of an environment of many actions, by name, such as ``--options.steps 50`` of alfworld."""
    channels: tuple[str, ...] = ("none", "text")
    """What the sender sends. none: no message. text: the plan in words. text:sampled: a sampled plan in words.
    hidden: the hidden states of a written plan. thought:K: K latent steps. cache: the KV cache of a written plan.
    cache:K: the KV cache of K latent steps. embeddings: the words as input embeddings, within one model.
    Or a channel of another package."""
    controls: tuple[str, ...] = ()
    """Controls that replace the message, for every channel that they apply to.
    Give all, or names such as cross_task, zeros, gaussian. hidden/zeros applies to the channel hidden alone."""
    connector: str = ""
    """How a receiver that was not trained to reads hidden states and latent steps.
    vocabulary works between any two models. identity, ridge, topk and others work within one model.
    Options follow a colon: vocabulary:temperature=0.5. Empty means that it cannot read them."""
    sender_sees: Literal["question", "notes", "all"] = "all"
    """What the sender reads of an item. question: the question. notes: its private notes. all: both."""
    sender_template: str = ""
    """Prompt of the sender, with {text} in the place of the item.
    Empty uses the sender's own prompt, or a request for a plan."""
    receiver_template: str = ""
    """Prompt of the receiver, with {text} in the place of the item. Empty uses the receiver's own."""
    ask: Literal["default", "text", "solve"] = "default"
    """How questions are asked. solve: ask for the answer in the form that the grader reads. text: the question alone.
    default: text for a receiver that was trained with messages, else solve."""
    limit: int | None = None
    """Use a fixed random subset of this size. None uses all."""
    batch_size: int = 16
    """Number of items in one batch. In bfloat16 and float16 a result depends slightly on the others in its batch.
    See exact."""
    exact: bool = False
    """Run every item alone. In any number format a result is then the same bit for bit. This is slower."""
    seed: int = 0
    """Seed of samples and controls."""
    draws: int = 1
    """Number of repetitions, under this seed and the following ones.
    With a temperature these are samples, and the report also gives the majority and pass@k.
    Each repetition draws new controls."""
    max_plan_tokens: int = 256
    """Largest number of tokens in a plan."""
    max_new_tokens: int | None = None
    """Largest number of tokens in a reply. None uses the environment's own limit."""
    temperature: float = 0.0
    """Temperature of plans and replies. 0 decodes greedily."""
    message_dtype: Literal["bfloat16", "float32", "float16", "model"] = "bfloat16"
    """Number format of the hidden states in a message."""
    engine: str = "hf"
    """The engine that runs the models. hf: the reference. recurrent: for layers that keep a state. vllm: vLLM.
    hybrid: latent steps in hf, all else in vllm. Or an engine of another package."""
    dtype: str = "auto"
    """Number format of the models. auto is bfloat16 where the hardware multiplies it natively, else float32.
    int8 is bfloat16 with weights rounded to int8, which takes half of their memory (needs torchao)."""
    device: str = "auto"
    """Device that the models run on. auto is the accelerator if there is one."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates. They override those that the models were trained with."""
    fields: RecordFields = field(default_factory=RecordFields)
    """records: which columns hold what."""
    inspected: int = 4
    """Number of items whose latents the report shows, at the sender and at the receiver.
    Their messages are made again at the end. 0 shows none."""
    count: int = 200
    """arithmetic, secret: number of items."""
    problems: ArithmeticOptions = field(default_factory=ArithmeticOptions)
    """arithmetic: which problems are generated."""
    secrets: SecretOptions = field(default_factory=SecretOptions)
    """secret: which secrets are generated."""
    workers: int = 2
    """Number of processes or threads that run the environment."""
    trust_remote_code: bool = False
    """Let `transformers` run code that the checkpoints contain."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", read_options(self.options))
        if not self.channels:
            raise InputError("channels is empty; name at least one, such as none and text")
        if ALL in self.controls and len(self.controls) > 1:
            raise InputError(f"controls is {list(self.controls)}; all is every control, give it alone")
        if self.base_url and not any(one.startswith(REMOTE) for one in (self.sender, self.receiver)):
            raise InputError(
                f"base_url is {self.base_url!r}, and neither sender nor receiver is behind a server; name one as "
                f"{REMOTE}NAME, or leave base_url out"
            )
        for name, template in (
            ("sender_template", self.sender_template),
            ("receiver_template", self.receiver_template),
        ):
            if template and "{text}" not in template:
                raise InputError(f"{name} {template!r} has no {{text}}; write where the item goes")
        for name in ("limit", "batch_size", "max_plan_tokens", "max_new_tokens", "workers", "count", "draws"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if self.draws > 1 and self.temperature == 0 and not self.controls:
            raise InputError(
                f"draws is {self.draws}, and without a temperature or controls all would be the same; set temperature"
            )
        if self.inspected < 0:
            raise InputError(f"inspected is {self.inspected}, expected 0 or more")
