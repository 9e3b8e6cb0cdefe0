"""The program in a reply: between fences or not, in one block or in several."""

import ast
import builtins
import re
import symtable
import textwrap
from collections.abc import Iterator, Sequence

_FENCE = re.compile(r"(?P<before>[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)(?P<mark>`{3,}|~{3,})[ \t]*(?P<about>[^`]*)")
_PYTHON = re.compile(r"[{.]*(?:i?py(?:thon)?)?[\d.]*(?:\W.*|\s*)", re.IGNORECASE)
_LANGUAGE = re.compile(r"\A\s*(?:py|python)[\d.]*[ \t]*\n", re.IGNORECASE)
_BEGINS = re.compile(r"[ \t]*(?:(?:def|async|class|import|from)\b|@\w|\w+[ \t]*=[^=])")
_MOST_ENDS = 40
"""Fences that are tried as the end of a block: those in a docstring end none."""
_MOST_BEGINNINGS, _MOST_CUTS = 50, 8
"""Lines that are tried as the beginning of a program without fences, and the ends that are tried for each."""


def program_of(reply: str, functions: Sequence[str], before: str = "") -> str | None:
    """The program in a reply: the last block of Python that defines what is tested, else the last block of Python.

    A block stands between fences, which may be indented or quoted; one that is never closed goes to the end, and one
    that the prompt has opened begins with the reply. In a reply without any fence it is what can be parsed and defines
    something. What the block uses and does not define is taken from the other blocks. Where nothing defines what is
    tested and ``before`` ends in its head, the block is its body.

    Args:
        functions: the names that are tested.
        before: what runs before the program and need not be in it.
    """
    lines: list[str] = []
    for line in reply.replace("\r\n", "\n").split("\n"):
        code = line.rstrip().rstrip("`")
        # A fence may end a block behind the last line of its code.
        is_ended = len(line.rstrip()) - len(code) >= 3 and "`" not in code and not _FENCE.fullmatch(line)
        lines += [code, "```"] if is_ended else [line]
    fences = {number: found for number, line in enumerate(lines) if (found := _FENCE.fullmatch(line))}
    blocks = [block for block in (_fenced(lines, fences) if fences else _unfenced(lines)) if block.strip()]
    wanted = set(functions)
    main = next((place for place in reversed(range(len(blocks))) if wanted & defined(blocks[place])), None)
    if main is None:
        start = _lines(lines[: min(fences, default=len(lines))])
        bodies = (_with_head(body, before, wanted) for body in (*reversed(blocks), start))
        return next((whole for whole in bodies if whole), blocks[-1] if blocks else None)
    others = [*reversed(blocks[:main]), *blocks[main + 1 :]]
    known_names = {name for node in statements(before) for name in _names(node)}
    return _completed(blocks[main], others, wanted, known_names)


_IMPORTS = (ast.Import, ast.ImportFrom)


def defined(program: str) -> set[str]:
    """The names that a program defines, other than by an import; none for what is no program."""
    return {name for node in statements(program) for name in _names(node) if not isinstance(node, _IMPORTS)}


def _parsed(program: str) -> ast.Module | None:
    try:
        return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def statements(program: str) -> list[ast.stmt]:
    """The statements at the top of a program; none for what is no program."""
    tree = _parsed(program)
    return tree.body if tree else []


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement at the top defines, also under an ``if`` or a ``try``, but not where it is main."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, _IMPORTS):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if node.value else []
        return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
        return set()
    handlers = [one for handler in getattr(node, "handlers", ()) for one in handler.body]
    inner = [one for key in ("body", "orelse", "finalbody") for one in getattr(node, key, ())]
    return {name for one in (*inner, *handlers) for name in _names(one)}


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _with_head(body: str, before: str, wanted: set[str]) -> str | None:
    """The body of the function whose head ends ``before``, with that head."""
    given = statements(before)
    if not body.strip() or not given or not wanted & _names(given[-1]):
        return None
    whole = f"{before.rstrip()}\n{textwrap.indent(textwrap.dedent(body).strip(chr(10)), '    ')}\n"
    return whole if _parsed(whole) else None


def _fenced(lines: Sequence[str], fences: dict[int, re.Match[str]]) -> Iterator[str]:
    """The blocks of Python between fences, in their order."""
    number = -1
    # The prompt may have opened the first: then only its end is here.
    for end in list(fences)[:_MOST_ENDS]:
        if fences[end]["about"].strip():
            break
        opened = _LANGUAGE.sub("", _lines(lines[:end]))
        if defined(opened):
            yield opened
            number = end
            break
    while (start := next((place for place in fences if place > number), None)) is not None:
        opening = fences[start]
        ends = [place for place, found in fences.items() if place > start and found["mark"].startswith(opening["mark"])]
        ends = ends[:_MOST_ENDS] or [len(lines)]
        bodies = ((end, _without(opening["before"], lines[start + 1 : end])) for end in ends)
        first = next(bodies)
        end, body = first if _parsed(first[1]) else next((one for one in bodies if _parsed(one[1])), first)
        # A fence with a language ends a block that was never closed, and opens the next one.
        number = end - 1 if end in fences and fences[end]["about"].strip() else end
        if _PYTHON.fullmatch(opening["about"].strip()):
            yield body


def _without(before: str, lines: Sequence[str]) -> str:
    """Lines without the marks of quotation and the indentation that stand before their fence."""
    body = _lines(lines)
    quoted = before.count(">")
    if _parsed(body):
        return body
    if quoted:
        lines = [re.sub(rf"^(?:[ \t]*>){{0,{quoted}}} ?", "", line) for line in lines]
    else:
        indent = len(before.expandtabs(4))
        lines = [re.sub(rf"^ {{0,{indent}}}", "", line.expandtabs(4) if line[:1] == "\t" and indent else line)
                 for line in lines]  # fmt: skip
    body = _lines(lines)
    return body if _parsed(body) else textwrap.dedent(body)


def _unfenced(lines: list[str]) -> Iterator[str]:
    """What can be parsed and defines something, in a text without fences."""
    lines = _LANGUAGE.sub("", _lines(lines)).split("\n")
    if defined(_lines(lines)):
        yield _lines(lines[: _length(lines, "")])
        return
    number = 0
    for beginning in [number for number, line in enumerate(lines) if _BEGINS.match(line)][:_MOST_BEGINNINGS]:
        if beginning >= number:
            length = _length(lines[beginning:], lines[beginning][: -len(lines[beginning].lstrip())])
            number = beginning + (length or 1)
            yield textwrap.dedent(_lines(lines[beginning : beginning + length]))


def _length(lines: Sequence[str], indent: str) -> int:
    """How many of the lines are a program; 0 if not even the first."""
    end = next((place for place, line in enumerate(lines) if line.strip() and not line.startswith(indent)), len(lines))
    for _ in range(_MOST_CUTS):
        try:
            body = ast.parse(textwrap.dedent("\n".join(lines[:end]))).body
        except SyntaxError as error:
            # Prose behind the code.
            end = min(end - 1, (error.lineno or 1) - 1)
            continue
        except (ValueError, RecursionError, MemoryError):
            return 0
        return max((node.end_lineno or 0 for node in body if not _is_words(node)), default=0)
    return 0


def _is_words(node: ast.stmt) -> bool:
    """Whether a statement is a word or two that only look like an expression."""
    words = (ast.Name, ast.Attribute, ast.Tuple, ast.Constant, ast.BinOp, ast.operator, ast.Load, ast.Store)
    inner = node.value if isinstance(node, ast.Expr) else node.annotation if isinstance(node, ast.AnnAssign) else None
    if inner is None or (isinstance(node, ast.AnnAssign) and node.value):
        return False
    return all(isinstance(one, words) for one in ast.walk(inner))


def _completed(main: str, others: Sequence[str], wanted: set[str], known: set[str]) -> str:
    """A block with what it needs of the others in front: nothing if it is complete, or is no program."""
    tree = _parsed(main)
    if tree is None:
        return main
    have = {name for node in tree.body for name in _names(node)}
    missing = (unbound(main) | wanted) - have - known
    needed: list[str] = []
    for block in others:
        found = _taken(block, missing)
        have |= {name for node in found for name in _names(node)}
        missing = missing.union(*(unbound(ast.unparse(node)) for node in found)) - have - known
        for node in found:
            # The place of a statement in the text begins with its decorators.
            if decorators := getattr(node, "decorator_list", ()):
                node.lineno, node.col_offset = decorators[0].lineno, 0
        needed[:0] = [ast.get_source_segment(block, node) or ast.unparse(node) for node in found]
    if not needed:
        return main
    futures = [ast.unparse(node) for node in tree.body if _is_future(node)]
    if futures:
        main = ast.unparse(ast.Module([node for node in tree.body if not _is_future(node)], []))
    return "\n".join([*futures, *needed, main])


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _taken(block: str, missing: set[str]) -> list[ast.stmt]:
    """The statements of a block that define what is missing, and what these need themselves, in their order."""
    nodes = [node for node in statements(block) if not _is_future(node)]
    places: set[int] = set()
    while more := {place for place, node in enumerate(nodes) if place not in places and _names(node) & missing}:
        places |= more
        missing = missing.union(*(unbound(ast.unparse(nodes[place])) for place in more))
    return [nodes[place] for place in sorted(places)]


def unbound(program: str) -> set[str]:
    """The names that a program uses and neither it nor Python defines."""
    used: set[str] = set()
    assigned: set[str] = set(dir(builtins))
    try:
        tables = [symtable.symtable(program, "program", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    top = tables[0]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            here = table is top
            if here and (symbol.is_assigned() or symbol.is_imported()):
                assigned.add(symbol.get_name())
            elif symbol.is_referenced() and (here or symbol.is_global()):
                used.add(symbol.get_name())
    return used - assigned
