"""Forms of replies, each with a program that has to run: joined, dedented or cut, but never made wrong."""

import pytest

from interlat.tasks.graders.programs import defined, program_of

BODY = "def double(n):\n    return n + n\n"


def run(program, before=""):
    """What a program defines once it has run."""
    names = {"__name__": "solution"}
    for text in (before, program):
        exec(compile(text, "solution", "exec", dont_inherit=True), names)
    return names


def indented(text, by="    "):
    return "".join(f"{by}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


DOCSTRING = 'def double(n):\n    """Twice.\n\n    ```\n    double(1) -> 2\n    ```\n    """\n    return n + n\n'
PYTHON_DOCSTRING = DOCSTRING.replace("    ```\n    double", "    ```python\n    double")
FORMS = {
    "a block of python": f"```python\n{BODY}```",
    "py": f"```py\n{BODY}```",
    "ipython": f"```ipython\n{BODY}```",
    "ipython3": f"```ipython3\n{BODY}```",
    "capital letters and a version": f"```Python3.11\n{BODY}```",
    "no language": f"```\n{BODY}```",
    "a blank before the language": f"``` python\n{BODY}```",
    "attributes of pandoc": f"```{{.python .numberLines}}\n{BODY}```",
    "braces of knitr": f"```{{python}}\n{BODY}```",
    "a title": f'```python title="a.py"\n{BODY}```',
    "a name behind a colon": f"```python:a.py\n{BODY}```",
    "tildes": f"~~~python\n{BODY}~~~",
    "tildes without a language": f"~~~\n{BODY}~~~",
    "four backticks": f"````python\n{DOCSTRING}````",
    "an end that never comes": f"```python\n{BODY}",
    "an end behind the code": f"```python\n{BODY.rstrip()}```",
    "an end behind the code, then prose": f"```python\n{BODY.rstrip()}```\nIt adds.",
    "windows": f"Here:\n```python\n{BODY}```\n".replace("\n", "\r\n"),
    "prose around": f"Here it is:\n\n```python\n{BODY}```\nIt adds.",
    "an indented fence": f"  ```python\n{BODY}  ```",
    "a list item": f"1. So:\n\n   ```python\n{indented(BODY, '   ')}   ```",
    "a list item with the fence behind its mark": f"- ```python\n{indented(BODY, '  ')}  ```",
    "a numbered item with the fence behind its mark": f"1. ```python\n{indented(BODY, '   ')}   ```",
    "a tab before all": f"\t```python\n{indented(BODY, chr(9))}\t```",
    "code indented more than its fence": f"```python\n{indented(BODY)}```",
    "a list item with a text over two lines": f"* x\n  ```python\n  t = '''a\nb'''\n{indented(BODY, '  ')}  ```",
    "a quotation": "> ```python\n> def double(n):\n>     return n + n\n> ```",
    "a quotation without blanks": ">```python\n>def double(n):\n>    return n + n\n>```",
    "a quotation in a quotation": "> > ```python\n> > def double(n):\n> >\n> >     return n + n\n> > ```",
    "a docstring with a fence": f"```python\n{DOCSTRING}```",
    "a docstring with a fence of python": f"```python\n{PYTHON_DOCSTRING}```\nIt adds.",
    "a docstring with a fence in a list item": f"1. So:\n   ```python\n{indented(DOCSTRING, '   ')}   ```",
    "an earlier block of something else": f"```python\nprint(1)\n```\nand\n```python\n{BODY}```",
    "a block with an example behind": f"```python\n{BODY}```\nFor example:\n```python\nprint(double(2))\n```",
    "a block with output behind": f"```python\n{BODY}```\nIt prints\n```text\n4\n```",
    "an untagged block with output behind": f"```python\n{BODY}```\nIt prints\n```\n4\n```",
    "a correction": f"```python\ndef double(n):\n    return n\n```\nNo, better:\n```python\n{BODY}```",
    "a block that is never closed before another": f"```python\nimport os\n\n```python\n{BODY}```",
    "imports in a block of their own": (
        "```python\nimport math\n```\nThen:\n```python\ndef double(n):\n    return math.floor(2 * n)\n```"
    ),
    "a helper first": (
        "```python\ndef add(a, b):\n    return a + b\n```\nThen:\n```python\ndef double(n):\n    return add(n, n)\n```"
    ),
    "a helper behind": (
        "```python\ndef double(n):\n    return add(n, n)\n```\nwith\n```python\ndef add(a, b):\n    return a + b\n```"
    ),
    "a helper that needs an import of a third block": (
        "```python\nimport operator\n```\n```python\ndef add(a, b):\n    return operator.add(a, b)\n```\n"
        "```python\ndef double(n):\n    return add(n, n)\n```"
    ),
    "a helper with a decorator and a constant": (
        "```python\nimport functools\nTWO = 2\n@functools.lru_cache\ndef twice(n):\n    return TWO * n\n```\n"
        "```python\ndef double(n):\n    return twice(n)\n```"
    ),
    "a helper under a future import": (
        "```python\ndef add(a, b):\n    return a + b\n```\n"
        "```python\nfrom __future__ import annotations\ndef double(n: Missing):\n    return add(n, n)\n```"
    ),
    "an annotated lambda": (
        "```python\nfrom typing import Callable\ndouble: Callable = lambda n: n + n\n```\nUse:\n```python\n"
        "double(2)\n```"
    ),
    "a function under if": (
        f"```python\nif True:\n{indented(BODY)}else:\n    double = None\n```\nUse:\n```python\nprint(double(2))\n```"
    ),
    "a function under try": (
        "```python\ntry:\n    from nothing_of_this_name import double\nexcept ImportError:\n"
        f"{indented(BODY)}```\nUse:\n```python\nprint(double(2))\n```"
    ),
    "a coroutine": "```python\nasync def double(n):\n    return n + n\n```\n```python\nprint(1)\n```",
    "no fence": BODY,
    "no fence, and a language": f"python\n{BODY}",
    "no fence, words behind": f"{BODY}\nDone",
    "no fence, prose before": f"Sure! Here's the function:\n\n{BODY}",
    "no fence, prose around": f"Sure, here is it.\n\n{BODY}\nIt's simple: the number is added to itself.",
    "no fence, prose with an import": f"I use math.\n\nimport math\n\n{BODY}\nHope this helps!",
    "no fence, a constant before": f"Here you are:\n\nTWO = 2\n{BODY.replace('n + n', 'TWO * n')}",
    "no fence, indented": f"Here you are:\n\n{indented(BODY)}\nIt adds.",
    "tags": f"[PYTHON]\n{BODY}[/PYTHON]",
    "the prompt has opened the fence": f"{BODY}```",
    "the prompt has opened the fence, prose behind": f"{BODY}```\nIt adds. For example:\n```\n4\n```",
    "the prompt has opened the fence, a docstring with a fence": f"{DOCSTRING}```\nIt adds.",
    "the prompt has opened the fence, the language is here": f"python\n{BODY}```",
    "the prompt has opened the fence, an example behind": f"{BODY}```\n\n```python\nprint(double(2))\n```",
}


@pytest.mark.parametrize("name", FORMS)
def test_the_program_is_found_and_runs(name):
    program = program_of(FORMS[name], ["double"])
    assert program is not None
    found = run(program)["double"]
    if name == "a coroutine":
        with pytest.raises(StopIteration, match="10"):
            found(5).send(None)
    else:
        assert found(5) == 10


@pytest.mark.parametrize(
    "reply", ["", "I cannot.", "```bash\nls\n```", "double", "1 + 1", "```\u00e4", "from here on", "a"]
)
def test_a_reply_without_a_program_has_none(reply):
    assert program_of(reply, ["double"]) is None


def test_a_block_that_is_whole_is_not_touched():
    """Nothing is added to it, whatever the other blocks define, and its text stays as it is."""
    other = "```python\ndef add(a, b):\n    raise ValueError\nimport math\n```\n"
    assert program_of(f"{other}```python\n{BODY}```\n{other}", ["double"]) == BODY
    own = "def add(a, b):\n    return a + b\n\n\ndef double(n):  # so\n    return add(n, n)\n"
    assert program_of(f"{other}```python\n{own}```", ["double"]) == own
    # A broken program stays broken, and is run as it stands.
    broken = "def double(n) return n\n"
    assert program_of(f"{other}```python\n{broken}```\n", ["double"]) == broken


def test_only_what_is_needed_is_taken_from_other_blocks():
    helper = "import nothing_of_this_name\nprint(1)\ndef add(a, b):\n    return a + b\n"
    program = program_of(f"```python\n{helper}```\n```python\ndef double(n):\n    return add(n, n)\n```", ["double"])
    assert "nothing_of_this_name" not in program and "print" not in program and run(program)["double"](2) == 4


def test_the_nearest_helper_before_is_taken():
    blocks = [f"def add(a, b):\n    return {value}\n" for value in ("0", "a + b")]
    blocks += ["def double(n):\n    return add(n, n)\n", "def add(a, b):\n    return 1\n"]
    program = program_of("".join(f"```python\n{block}```\n" for block in blocks), ["double"])
    assert run(program)["double"](4) == 8


def test_what_runs_before_needs_not_be_taken():
    before = "import math\ndef add(a, b):\n    return a + b\n"
    main = "def double(n):\n    return add(math.floor(n), n)\n"
    reply = f"```python\ndef add(a, b):\n    return 0\n```\n```python\n{main}```"
    assert program_of(reply, ["double"], before) == main


def test_functions_of_several_blocks_are_all_there():
    reply = f"```python\ndef half(n):\n    return n // 2\n```\n```python\n{BODY}```"
    found = run(program_of(reply, ["double", "half"]))
    assert found["half"](found["double"](3)) == 3


HEAD = 'import math\n\n\ndef double(n):\n    """ Twice. """\n'


@pytest.mark.parametrize(
    "reply",
    ["    return n + n\n", "```python\n    return n + n\n```", "return n + n", "    m = n\n\n    return m + n\n```"],
)
def test_a_body_alone_belongs_to_the_head_that_was_given(reply):
    assert run(program_of(reply, ["double"], HEAD))["double"](5) == 10


def test_the_last_block_is_run_where_none_defines_what_is_tested():
    assert program_of("```python\na = 1\n```\n```python\nb = 2\n```", ["double"]) == "b = 2\n"


def test_names_that_a_program_defines():
    program = "a, (b, *c) = x\nif y:\n    d = 1\nelif z:\n    class E: pass\nfor i in j:\n    k = 1\nm: int\nimport o\n"
    assert defined(program) == {"a", "b", "c", "d", "E", "k"}
    assert defined("if __name__ == '__main__':\n    a = 1\n") == set() == defined("def f(:")


@pytest.mark.parametrize(
    "reply", ["```python\n" * 500, "(" * 50_000, "def f(:\n" * 2000, "x = (\n" * 2000, "> " * 5000 + "```"]
)
def test_no_reply_takes_long(reply):
    program_of(reply, ["double"])
