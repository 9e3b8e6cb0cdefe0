"""How the tasks of a source become prompts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlat.agents.settings import Thinking, with_thinking
from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.tasks.grading import GRADERS, PLACE_OF_FORMAT
from interlat.tasks.sources import PLACE_OF_TEXT, TASK_SOURCES, Ask, TaskSource

if TYPE_CHECKING:
    from interlat.agents.prompting import PromptMaker


@dataclass(frozen=True)
class PromptOptions:
    """How a task becomes a prompt."""

    ask: Ask = "default"
    """What the prompt asks for. plan: a plan. solve: a solution with the answer in a box. text: the task alone.
    list: an ALFWorld plan that names every place.
    default: plan for alfworld, conversations and math, text for records and secret, solve for all others."""
    template: str = ""
    """Your own template, with ``{text}`` in the place of the task. Other braces are plain text."""
    template_file: str = ""
    """A file with such a template. Set it or ``template``, not both."""
    system: str = ""
    """System prompt. Empty means none."""
    chat: bool = True
    """Use the tokenizer's chat template.
    False gives the model the bare text, after the tokenizer's beginning-of-text token if it has one."""
    thinking: Thinking = "default"
    """Sets ``template.enable_thinking``: on or off. default leaves that setting as it is."""
    allow_special_tokens: bool = False
    """Read control tokens in a task's text, such as ``<|im_end|>``, as control tokens.
    By default they are plain text."""

    def __post_init__(self) -> None:
        if self.template and self.template_file:
            raise InputError("set template or template_file, not both")
        if self.template and PLACE_OF_TEXT not in self.template:
            raise InputError(f"the template {self.template!r} has no {PLACE_OF_TEXT}; write where the task goes")

    def maker(self, template: str, tokenizer: Any, options: TemplateOptions | None = None) -> "PromptMaker":
        """Makes the prompts of one model, with a template as `resolved_template` gives it."""
        from interlat.agents.prompting import PromptMaker

        options = with_thinking(self.thinking, options or TemplateOptions())
        return PromptMaker(
            template,
            tokenizer,
            system=self.system,
            chat=self.chat,
            options=options,
            allow_special_tokens=self.allow_special_tokens,
        )

    def resolved_ask(self, kind: str) -> Ask:
        """What is asked for, with the default of a kind of task filled in.

        Raises:
            InputError: tasks of the kind cannot be asked for that.
        """
        how = TASK_SOURCES[kind]
        if self.ask == "default":
            return how.ask
        if self.ask not in how.asks:
            raise InputError(
                f"ask is {self.ask}, and tasks of kind {kind} take {', '.join(how.asks)}; use one of these"
            )
        return self.ask

    def resolved_template(self, source: TaskSource) -> str:
        """The text of the user turn, with ``{text}`` where the task goes.

        Raises:
            InputError: the file is missing or has no place for the task.
        """
        if self.template:
            return self.template
        if self.template_file:
            path = Path(self.template_file)
            if not path.is_file():
                raise InputError(f"there is no template file {path}; check the path")
            template = path.read_text(encoding="utf-8")
            if PLACE_OF_TEXT not in template:
                raise InputError(f"{path} has no {PLACE_OF_TEXT}; write where the task goes")
            return template
        found = source.how.template(source, self.resolved_ask(source.kind))
        return found.replace(PLACE_OF_FORMAT, GRADERS[source.grader].answer_format)
