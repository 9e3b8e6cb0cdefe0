"""Small chat templates that behave like the published ones, and the conversations that a model plays with them.

What stands beside each template is written by hand and not by the template: a conversation at play is the opening, then
for each turn what the model writes and what it reads behind that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerFast

from model_fixtures import tiny_tokenizer

TURNS = "{% for m in messages %}"
CHATML_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
CHATML = TURNS + "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}" + CHATML_PROMPT
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
# Where the last user's turn is, and an assistant's thought and answer.
LAST_ASKED = (
    "{% set ns = namespace(asked=-1) %}"
    + TURNS
    + "{% if m.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}"
    "{% endfor %}"
)
THOUGHT_AND_SAID = (
    "{% set said = m.content %}{% set thought = '' %}{% if '</think>' in said %}"
    "{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
)
SWITCH = "enable_thinking is defined and not enable_thinking"
NO_THOUGHT = "<think>\n\n</think>\n\n"
QWEN3 = (
    LAST_ASKED + TURNS + "{% if m.role != 'assistant' %}{{ '<|im_start|>' + m.role + '\n' + m.content }}{% else %}"
    + THOUGHT_AND_SAID + "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.asked and (loop.last or thought) %}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}{{ said }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    + CHATML_PROMPT.replace("{% endif %}", "{% if " + SWITCH + " %}{{ '" + NO_THOUGHT + "' }}{% endif %}{% endif %}")
)  # fmt: skip
QWEN35 = (
    LAST_ASKED + TURNS + "{% if m.role != 'assistant' %}{{ '<|im_start|>' + m.role + '\n' + m.content }}{% else %}"
    + THOUGHT_AND_SAID + "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.asked %}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}{{ said }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    + CHATML_PROMPT.replace(
        "{% endif %}",
        "{% if " + SWITCH + " %}{{ '" + NO_THOUGHT + "' }}{% else %}{{ '<think>\n' }}{% endif %}{% endif %}",
    )
)  # fmt: skip
SAID = "{{ m.content.split('</think>')[-1].lstrip('\n') }}"
QWQ = (
    TURNS + "{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}" + SAID + "{% else %}{{ m.content }}"
    "{% endif %}{{ '<|im_end|>\n' }}{% endfor %}" + CHATML_PROMPT.replace("assistant\n", "assistant\n<think>\n")
)
NEMOTRON3 = (
    LAST_ASKED + TURNS + "{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% if '</think>' not in m.content %}{{ '<think></think>' + m.content }}"
    "{% elif loop.index0 < ns.asked %}{{ '<think></think>' + m.content.split('</think>')[-1].strip() }}"
    "{% else %}{{ m.content }}{% endif %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    + CHATML_PROMPT.replace(
        "{% endif %}",
        "{% if " + SWITCH + " %}{{ '<think></think>' }}{% else %}{{ '<think>\n' }}{% endif %}{% endif %}",
    )
)  # fmt: skip
# Whether it thinks is said in the system turn.
SMOLLM3 = (
    "{% set quiet = messages[0].role == 'system' and '/no_think' in messages[0].content %}"
    "{% set lead = '" + NO_THOUGHT + "' if quiet else '' %}" + TURNS + "{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{{ lead }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    + CHATML_PROMPT.replace("{% endif %}", "{{ lead }}{% endif %}")
)  # fmt: skip
R1_TURNS = (
    "{{ bos_token }}" + TURNS + "{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
    "{{ '<|User|>' + m.content }}{% else %}{{ '<|Assistant|>' + LEAD + m.content.split('</think>')[-1] + eos_token }}"
    "{% endif %}{% endfor %}"
)
R1 = R1_TURNS.replace("LEAD + ", "") + "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
V31 = (
    R1_TURNS.replace("LEAD", "'</think>'") + "{% if add_generation_prompt %}{{ '<|Assistant|>' }}"
    "{{ '<think>' if thinking is defined and thinking else '</think>' }}{% endif %}"
)
HEADER = "'<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'"
LLAMA3_TURNS = (
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content.strip() }}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|eot_id|>' }}" + TURNS + "{{ " + HEADER + " + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA31 = (
    "{{ bos_token }}{% if date_string is not defined %}{% set date_string = '26 Jul 2024' %}{% endif %}" + LLAMA3_TURNS
)
LLAMA32 = LLAMA31.replace("'26 Jul 2024'", "strftime_now('%d %b %Y')")
GEMMA_TURNS = (
    "{{ bos_token }}START{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + m.role.replace('assistant', 'model') + '\n' + (lead if loop.first else '') }}"
    "{{ m.content | trim }}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA2 = GEMMA_TURNS.replace(
    "START",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "{% set rest = messages %}{% set lead = '' %}",
)
GEMMA3 = GEMMA_TURNS.replace(
    "START",
    "{% if messages[0].role == 'system' %}{% set lead = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set lead = '' %}{% set rest = messages %}{% endif %}",
)
# The system turn stands in the last user's turn, wherever that is.
MISTRAL = (
    "{% set rest = messages %}{% set system = '' %}{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = messages[0].content + '\n\n' %}{% endif %}{{ bos_token }}{% for m in rest %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + (system if loop.last else '') + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + eos_token }}{% endif %}{% endfor %}"
)
LLAMA2 = (
    "{% set rest = messages %}{% set system = '' %}{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}{% endif %}{% for m in rest %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PHI3 = (
    TURNS + "{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
# The end of the last reply and that of an earlier one are two tokens.
GPT_OSS = (
    "{{ '<|start|>system<|message|>Current date: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}" + TURNS
    + "{% if m.role == 'system' %}{{ '<|start|>developer<|message|>' + m.content + '<|end|>' }}"
    "{% elif m.role == 'user' %}{{ '<|start|>user<|message|>' + m.content + '<|end|>' }}"
    "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)  # fmt: skip
# A reply ends where the next turn begins.
GLM4 = (
    "{{ '[gMASK]' }}" + TURNS + "{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
COUNTED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' + loop.index | string + '\n' + m.content }}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant ' + (messages | length + 1) | string + '\n' }}{% endif %}"
)

SPECIALS = ["<|im_start|>", "<|im_end|>", "<|User|>", "<|Assistant|>", "<bos>", "<eos>", "<think>", "</think>"]
SPECIALS += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"]
SPECIALS += ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|start|>", "<|message|>", "<|channel|>"]
SPECIALS += ["<|return|>", "[gMASK]", "[INST]", "[/INST]", "<bop>", "<eop>"]


@dataclass(frozen=True)
class Form:
    """A template, and a conversation as it is played."""

    template: str
    opening: Callable[[str, str], str]
    """What is read first, of the system turn (or none) and the user's turn."""
    reply: Callable[[str], str]
    """What the model writes, the end of the turn included."""
    between: Callable[[str], str]
    """What is read behind a reply, of the next user's turn."""
    behind: str = ""
    """What stands behind the last reply, its end included."""
    eos: str = "<eos>"
    options: dict[str, Any] = field(default_factory=dict)
    with_system: str = ""
    """What the error says where there is a system turn; empty if there may be one."""
    alone: bool = True
    """Whether what follows a reply does not depend on the conversation."""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A byte-level tokenizer with this template."""
        return tiny_tokenizer(SPECIALS, 340, chat_template=self.template, eos_token=self.eos, bos_token="<bos>")


def _turn(role: str, content: str) -> str:
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


def _chatml(default: str = "", lead: str = "", written: str = "") -> dict[str, Any]:
    """ChatML with a default system turn, a generation prompt that ends with ``lead``, and what a reply begins with."""
    header = f"<|im_start|>assistant\n{lead}"
    return {
        "opening": lambda system, user: (
            (_turn("system", system or default) if system or default else "") + _turn("user", user) + header
        ),
        "reply": lambda text: f"{written}{text}<|im_end|>",
        "between": lambda user: "<|im_end|>\n" + _turn("user", user) + header,
        "behind": "<|im_end|>\n",
        "eos": "<|im_end|>",
    }


def _deepseek(lead: str, written: str) -> dict[str, Any]:
    return {
        "opening": lambda system, user: f"<bos>{system}<|User|>{user}<|Assistant|>{lead}",
        "reply": lambda text: f"{written}{text}<eos>",
        "between": lambda user: f"<eos><|User|>{user}<|Assistant|>{lead}",
        "behind": "<eos>",
    }


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


def _llama3(date: str) -> dict[str, Any]:
    asked = f"{_header('user')}%s<|eot_id|>{_header('assistant')}"
    return {
        "opening": lambda system, user: (
            f"<bos>{_header('system')}Today Date: {date}\n\n{system}<|eot_id|>" + asked.replace("%s", user)
        ),
        "reply": lambda text: f"{text}<|eot_id|>",
        "between": lambda user: "<|eot_id|>" + asked.replace("%s", user),
        "behind": "<|eot_id|>",
        "eos": "<|eot_id|>",
    }


def _gemma() -> dict[str, Any]:
    asked = "<start_of_turn>user\n%s<end_of_turn>\n<start_of_turn>model\n"
    return {
        "opening": lambda system, user: "<bos>" + asked.replace("%s", f"{system}\n\n{user}" if system else user),
        "reply": lambda text: f"{text}<end_of_turn>",
        "between": lambda user: "<end_of_turn>\n" + asked.replace("%s", user),
        "behind": "<end_of_turn>\n",
    }


def _gpt_oss(date: str) -> dict[str, Any]:
    asked = "<|start|>user<|message|>%s<|end|><|start|>assistant"
    return {
        "opening": lambda system, user: (
            f"<|start|>system<|message|>Current date: {date}<|end|>"
            + (f"<|start|>developer<|message|>{system}<|end|>" if system else "")
            + asked.replace("%s", user)
        ),
        "reply": lambda text: f"<|channel|>final<|message|>{text}<|return|>",
        "between": lambda user: "<|end|>" + asked.replace("%s", user),
        "behind": "<|return|>",
        "eos": "<|return|>",
    }


QUIET = {"enable_thinking": False}
FORMS = {
    "chatml": Form(CHATML, **_chatml()),
    "qwen2.5": Form(DEFAULT_SYSTEM + CHATML, **_chatml("You help.")),
    "smollm2": Form(DEFAULT_SYSTEM + CHATML, **_chatml("You help.")),
    "qwen3": Form(QWEN3, **_chatml(written=NO_THOUGHT)),
    "qwen3 thinking": Form(QWEN3, **_chatml(written=NO_THOUGHT), options={"enable_thinking": True}),
    "qwen3 quiet": Form(QWEN3, **_chatml(lead=NO_THOUGHT), options=QUIET),
    "qwen3.5": Form(QWEN35, **_chatml(lead="<think>\n", written="\n</think>\n\n")),
    "qwen3.5 quiet": Form(QWEN35, **_chatml(lead=NO_THOUGHT), options=QUIET),
    "qwq": Form(QWQ, **_chatml(lead="<think>\n", written="\n</think>\n\n")),
    "nemotron3": Form(NEMOTRON3, **_chatml(lead="<think>\n", written="\n</think>\n\n")),
    "nemotron3 quiet": Form(NEMOTRON3, **_chatml(lead="<think></think>"), options=QUIET),
    "smollm3": Form(SMOLLM3, **_chatml()),
    "r1": Form(R1, **_deepseek("<think>\n", "\n</think>\n\n")),
    "deepseek v3.1": Form(V31, **_deepseek("</think>", "")),
    "deepseek v3.1 thinking": Form(V31, **_deepseek("<think>", "</think>"), options={"thinking": True}),
    "llama3.1": Form(LLAMA31, **_llama3("26 Jul 2024")),
    "llama3.2": Form(LLAMA32, **_llama3("26 Jul 2024")),
    "gemma2": Form(GEMMA2, **_gemma(), with_system="no system turn"),
    "gemma3": Form(GEMMA3, **_gemma()),
    "mistral": Form(
        MISTRAL,
        opening=lambda system, user: f"<bos>[INST] {user}[/INST]",
        reply=lambda text: f" {text}<eos>",
        between=lambda user: f"<eos>[INST] {user}[/INST]",
        behind="<eos>",
        with_system="rewrites the beginning",
    ),
    "llama2": Form(
        LLAMA2,
        opening=lambda system, user: (
            "<bos>[INST] " + (f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system else "") + f"{user} [/INST]"
        ),
        reply=lambda text: f" {text} <eos>",
        between=lambda user: f"<eos><bos>[INST] {user} [/INST]",
        behind="<eos>",
    ),
    "phi3": Form(
        PHI3,
        opening=lambda system, user: (
            (f"<|system|>\n{system}<|end|>\n" if system else "") + f"<|user|>\n{user}<|end|>\n<|assistant|>\n"
        ),
        reply=lambda text: f"{text}<|end|>",
        between=lambda user: f"<|end|>\n<|user|>\n{user}<|end|>\n<|assistant|>\n",
        behind="<|end|>\n<eos>",
    ),
    "gpt-oss": Form(GPT_OSS, **_gpt_oss("2024-07-26")),
    "glm4": Form(
        GLM4,
        opening=lambda system, user: (
            "[gMASK]" + (f"<|system|>\n{system}" if system else "") + f"<|user|>\n{user}<|assistant|>\n"
        ),
        reply=lambda text: f"{text}<|user|>",
        between=lambda user: f"<|user|>\n{user}<|assistant|>\n",
        behind="<|user|>",
    ),
    "counted": Form(
        COUNTED,
        opening=lambda system, user: (
            (f"<|im_start|>system 1\n{system}<|im_end|>\n" if system else "")
            + f"<|im_start|>user {1 + bool(system)}\n{user}<|im_end|>\n<|im_start|>assistant {2 + bool(system)}\n"
        ),
        reply=lambda text: f"{text}<|im_end|>",
        between=lambda user: "",
        behind="<|im_end|>\n",
        eos="<|im_end|>",
        alone=False,
    ),
}
