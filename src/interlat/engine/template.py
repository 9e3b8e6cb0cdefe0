"""What a chat template is given beside the turns, and its rendering within bounds."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

import jinja2
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

from interlat.engine.options import FIXED_DATE as FIXED_DATE
from interlat.engine.options import TODAY as TODAY
from interlat.engine.options import TemplateOptions as TemplateOptions
from interlat.errors import PromptError

SECONDS = 20
"""A template that renders longer is taken for one that never ends."""
LONGEST = 2**26
"""Most characters of a rendered conversation."""
_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def render_template(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[tuple[str, str]],
    options: TemplateOptions,
    *,
    generation_prompt: bool,
) -> str:
    """The text that the tokenizer's chat template makes of turns, in the sandbox of `transformers`.

    A template comes with a model and may do what it likes in there: every failure of its own is a PromptError, and so
    is rendering for longer than `SECONDS` (in the main thread, where Python can interrupt it) and a text of more than
    `LONGEST` characters.

    Raises:
        PromptError: the template refuses the turns, fails, or does not end.
    """
    variables = {**tokenizer.special_tokens_map, "tools": None, "documents": None, **options.variables}
    roles = ", ".join(role for role, _ in turns)
    try:
        with _at_most(SECONDS):
            # Not apply_chat_template: it hands no functions to the template, and so no other date.
            template = _compile_jinja_template(tokenizer.get_chat_template(None, variables["tools"]))
            rendered = template.render(
                messages=[{"role": role, "content": content} for role, content in turns],
                add_generation_prompt=generation_prompt,
                strftime_now=options.strftime_now,
                **variables,
            )
    except jinja2.TemplateError as error:
        raise PromptError(
            f"the chat template refuses the turns ({roles}): {error}; use roles that it allows"
        ) from error
    except _FAULTS as error:
        raise PromptError(
            f"the chat template fails at the turns ({roles}): {type(error).__name__}: {error}; correct the template"
        ) from error
    if len(rendered) > LONGEST:
        raise PromptError(
            f"the chat template makes {len(rendered)} characters of the turns ({roles}), and {LONGEST} are the most; "
            "shorten the turns or correct the template"
        )
    return str(rendered)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise PromptError where the block takes longer; outside the main thread there is no such limit."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise PromptError(f"the chat template does not end within {seconds:g} seconds; correct the template")

    handler = signal.signal(signal.SIGALRM, stop)
    # Again and again: where Jinja folds constants it catches everything and tries once more.
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        # Another timer, such as that of a test, goes on.
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)
