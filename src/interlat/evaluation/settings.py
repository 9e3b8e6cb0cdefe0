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
    """A sender speaks over channels to a receiver, which acts in an environment, with controls."""

    sender: str
    """Folder or hub id of the sender; openai:NAME is a model behind an OpenAI-compatible server, for text alone."""
    environment: str
    """A benchmark (gsm8k, medqa, ... see `interlat tasks list`), records, conversations, arithmetic, secret, or an
    environment of many actions (alfworld, household, textcraft, ... see `interlat environments list`)."""
    output: str
    """The run directory; the same command continues what is there."""
    receiver: str = ""
    """Folder or hub id of the receiver, or openai:NAME; empty is the sender's model itself."""
    base_url: str = ""
    """openai:NAME: address of the server, such as http://localhost:8000/v1; empty is $OPENAI_BASE_URL, else OpenAI's
    own. The key comes from $OPENAI_API_KEY alone."""
    data: tuple[str, ...] = ()
    """Files, folders or hub ids of the items; empty is the environment's own place."""
    split: str = ""
    """Part of the data; empty is the environment's own choice."""
    options: dict[str, str] = field(default_factory=dict, metadata={CHECKED_BY_CLASS: True})
    """Further options of an environment of many actions, by name, such as ``--options.steps 50`` of alfworld."""
    channels: tuple[str, ...] = ("none", "text")
    """What travels: none, text, text:sampled, hidden (the states of a written plan), thought:K (K latent steps), cache
    (the KV cache of a written plan), cache:K (of K latent steps), embeddings (the words as input embeddings, within one
    model), or a channel of another package."""
    controls: tuple[str, ...] = ()
    """What takes the message's place, for every channel that it is for: all, or names such as cross_task, zeros,
    gaussian; hidden/zeros is for the channel hidden alone."""
    connector: str = ""
    """How a receiver that was not trained to reads hidden states and thoughts: vocabulary (between any two models),
    or identity, ridge, topk and others within one model, with options as in vocabulary:temperature=0.5. Empty: it
    cannot."""
    sender_sees: Literal["question", "notes", "all"] = "all"
    """What the sender reads of an item: the question, the notes that only it may see, or both."""
    sender_template: str = ""
    """The sender's prompt, with {text} where the item goes; empty is the sender's own, or a request for a plan."""
    receiver_template: str = ""
    """The receiver's prompt, with {text} where the item goes; empty is the receiver's own."""
    ask: Literal["default", "text", "solve"] = "default"
    """Of questions: solve asks for the answer in the form that the grader reads, text is the question alone. By default
    the text alone for a receiver that was trained with messages, else solve."""
    limit: int | None = None
    """A fixed random subset of this size."""
    batch_size: int = 16
    """Items side by side. In bfloat16 and float16 a result depends a little on those beside it; see exact."""
    exact: bool = False
    """Play every item alone, so that a result is the same bit for bit in any number format. Slower."""
    seed: int = 0
    """Of samples and controls."""
    draws: int = 1
    """Play everything so many times, under this seed and those behind it. With a temperature these are samples, of
    which the report also gives the majority and pass@k; controls are drawn anew each time."""
    max_plan_tokens: int = 256
    """Most tokens of a plan."""
    max_new_tokens: int | None = None
    """Most tokens of a reply; by default what the environment asks for."""
    temperature: float = 0.0
    """Of plans and replies; 0 is greedy."""
    message_dtype: Literal["bfloat16", "float32", "float16", "model"] = "bfloat16"
    """Number format in which hidden states travel."""
    engine: str = "hf"
    """What runs the models: hf (the reference), recurrent (layers that keep a state), vllm, hybrid (latent steps in hf,
    all else in vllm), or an engine of another package."""
    dtype: str = "auto"
    """Number format of the models; auto is bfloat16 where the hardware multiplies it natively, else float32. int8 is
    bfloat16 with weights rounded to int8, which takes half of their memory (needs torchao)."""
    device: str = "auto"
    """Where the models run; auto is the accelerator if there is one."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates, over those that the models were trained with."""
    fields: RecordFields = field(default_factory=RecordFields)
    """records: which columns hold what."""
    inspected: int = 4
    """Items whose latents the page shows, at the sender and at the receiver; their messages are made again at the end.
    0 shows none."""
    count: int = 200
    """arithmetic, secret: number of items."""
    problems: ArithmeticOptions = field(default_factory=ArithmeticOptions)
    """arithmetic: how hard they are, and which."""
    secrets: SecretOptions = field(default_factory=SecretOptions)
    """secret: which ones."""
    workers: int = 2
    """Processes or threads of the environment."""
    trust_remote_code: bool = False
    """Let `transformers` run code that the checkpoints bring along."""

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
