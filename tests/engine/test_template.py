"""What templates are given, and that no template of a stranger's folder takes the program with it."""

import datetime
import signal
import threading
import time

import pytest

from chat_templates import FORMS, LLAMA31, SPECIALS
from interlat.engine import template
from interlat.engine.chat import ChatFormat
from interlat.engine.template import TemplateOptions, render_template
from interlat.errors import InputError, PromptError
from model_fixtures import tiny_tokenizer

ASKED = [("user", "hello")]
DEFAULT = TemplateOptions()


class OtherDay(datetime.datetime):
    """The clock of `transformers` on another day."""

    @classmethod
    def now(cls, tz=None):
        return cls(2031, 2, 3, 4, 5, tzinfo=tz)


def rendered(source, options=DEFAULT, turns=ASKED):
    tokenizer = tiny_tokenizer(SPECIALS, 340, chat_template=source, bos_token="<bos>", eos_token="<eos>")
    return render_template(tokenizer, turns, options, generation_prompt=True)


@pytest.mark.parametrize("name", list(FORMS))
def test_the_text_is_that_of_transformers_but_for_the_date(name, monkeypatch):
    form = FORMS[name]
    tokenizer = form.tokenizer()
    turns = [("user", "hello"), ("assistant", "so"), ("user", "on")]
    messages = [{"role": role, "content": content} for role, content in turns]
    for prompt in (True, False):
        theirs = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **form.options)
        today = datetime.datetime.now()
        for form_of_date in ("%d %b %Y", "%Y-%m-%d"):
            theirs = theirs.replace(today.strftime(form_of_date), template.FIXED_DATE.strftime(form_of_date))
        options = TemplateOptions(arguments=form.options)
        assert render_template(tokenizer, turns, options, generation_prompt=prompt) == theirs
    before = render_template(tokenizer, turns, options, generation_prompt=True)
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", OtherDay)
    assert render_template(tokenizer, turns, options, generation_prompt=True) == before


@pytest.mark.parametrize(
    ("name", "date", "written"),
    [
        ("llama3.1", None, "26 Jul 2024"),
        ("llama3.2", None, "26 Jul 2024"),
        ("gpt-oss", None, "2024-07-26"),
        ("llama3.1", "2026-11-28", "28 Nov 2026"),
        ("llama3.2", "2026-11-28", "28 Nov 2026"),
        ("gpt-oss", "2026-11-28", "2026-11-28"),
        ("gpt-oss", "today", datetime.date.today().isoformat()),
        ("llama3.2", "today", datetime.date.today().strftime("%d %b %Y")),
    ],
)
def test_a_date_enters_a_prompt_only_if_asked_for(name, date, written):
    chat = ChatFormat(FORMS[name].tokenizer(), TemplateOptions(date=date))
    assert f"ate: {written}" in chat.opening(ASKED)[0].text


def test_today_is_recorded_as_its_date():
    assert TemplateOptions(date="today").record == {"date": datetime.date.today().isoformat()}
    assert TemplateOptions(date=datetime.date(2026, 11, 28)) == TemplateOptions(date="2026-11-28")
    assert TemplateOptions().record == {}


def test_arguments_are_json_where_they_can_be():
    options = TemplateOptions(arguments={"a": "true", "b": "[1, 2]", "c": "a word", "d": '"3"', "e": 4})
    assert options.variables == {"a": True, "b": [1, 2], "c": "a word", "d": "3", "e": 4}
    assert TemplateOptions(enable_thinking=False).variables == {"enable_thinking": False}
    source = "{{ a }} {{ b[1] }} {{ c }} {{ d + d }} {{ e + 1 }}"
    assert rendered(source, options) == "True 2 a word 33 5"


def test_tools_reach_the_template():
    options = TemplateOptions(arguments={"tools": '[{"type": "function", "function": {"name": "look"}}]'})
    source = "{{ tools[0].function.name if tools else 'none' }}"
    assert (rendered(source, options), rendered(source)) == ("look", "none")


def test_options_over_others():
    one = TemplateOptions(enable_thinking=False, arguments={"a": "1", "b": "2"})
    other = TemplateOptions(enable_thinking=True, date="2026-11-28", arguments={"a": "0"})
    assert one.over(other) == TemplateOptions(False, "2026-11-28", {"a": "1", "b": "2"})
    assert one.over(TemplateOptions()) == one == TemplateOptions().over(one)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"date": "tomorrow"}, "date is 'tomorrow'"),
        ({"date": 5}, "date is 5"),
        ({"enable_thinking": "maybe"}, "enable_thinking is 'maybe'"),
        ({"enable_thinking": 1}, "enable_thinking is 1"),
        ({"arguments": [1]}, r"arguments is \[1\]"),
        ({"arguments": {1: "a"}}, "arguments is"),
        ({"arguments": {"a": {1, 2}}}, "argument a is"),
        ({"arguments": {"messages": "[]"}}, "arguments names messages"),
    ],
)
def test_options_that_make_no_sense_are_errors(fields, message):
    with pytest.raises(InputError, match=message):
        TemplateOptions(**fields)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "OverflowError"),
        ("{{ messages | sum }}", "TypeError"),
        ("{{ 'a'.format(**{}) }}{{ '{}'.format() }}", "IndexError"),
        ("{{ 'x' | int(base=99) / messages[0].content | length - 'a' }}", "TypeError"),
        ("{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}", "RecursionError"),
        ("{{ messages[3].content }}", "refuses the turns"),
        ("{{ raise_exception('not so') }}", "not so"),
        ("{% if %}", "refuses the turns"),
        ("{{ strftime_now(5) }}", "TypeError"),
    ],
)
def test_whatever_a_template_does_wrong_is_one_error(source, message):
    with pytest.raises(PromptError, match=message):
        rendered(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_a_template_that_never_ends_is_an_error(source, monkeypatch):
    monkeypatch.setattr(template, "SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(PromptError, match=r"does not end within 0\.3 seconds"):
        rendered(source)
    assert time.monotonic() - began < 5


def test_a_text_without_bounds_is_an_error(monkeypatch):
    monkeypatch.setattr(template, "LONGEST", 1000)
    assert len(rendered("{{ 'a' * 1000 }}")) == 1000
    with pytest.raises(PromptError, match="makes 1001 characters"):
        rendered("{{ 'a' * 1001 }}")


def test_another_timer_and_other_threads_are_left_alone(monkeypatch):
    rung = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        rendered("{{ messages[0].content }}")
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
        assert signal.getsignal(signal.SIGALRM) is not before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = []
    thread = threading.Thread(target=lambda: found.append(rendered("{{ messages[0].content }}")))
    thread.start()
    thread.join()
    assert found == ["hello"] and not rung


def test_the_date_of_a_template_can_be_given_by_its_own_name_too():
    options = TemplateOptions(arguments={"date_string": "1 May 2020"})
    assert "Today Date: 1 May 2020" in rendered(LLAMA31, options)
