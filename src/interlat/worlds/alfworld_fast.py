"""Makes TextWorld's PDDL engine fast without changing a text.

Profiling the stock engine (TextWorld 1.7.0) shows the same three things computed again and again:

1. text templates and conditions are parsed by a grammar compiler at every use: memoised by their source;
2. a context is deep-copied for every symbol of a text although only two of its dictionaries are written to;
3. the PDDL problem is translated to SAS four times for each load and reset, twice of them for the planner, which only
   `policy_commands` uses: memoised by content, and the planner's translation is left out.

`install` patches the engine of this process once. A bit-equality test compares texts, admissible commands and rewards
with the stock engine.
"""

import copy
import functools
import hashlib
import sys
from typing import Any

TRANSLATIONS_KEPT = 512
PARSES_KEPT = 20_000
_NO_PLANNER = ""


@functools.cache
def install() -> None:
    """Patch TextWorld in this process; calling it again does nothing. The planner is not available afterwards."""
    import fast_downward
    import textworld.envs.pddl.logic as pddl_logic
    import textworld.envs.pddl.textgen as textgen
    import textworld.logic as logic

    _memoise_parsing(textgen, pddl_logic, logic)
    _share_contexts(textgen, logic)
    _memoise_translation(fast_downward)


def _fresh(symbol: Any, textgen: Any) -> Any:
    """A copy of a parsed symbol with a context of its own: the engine writes to a symbol's context."""
    clone = copy.copy(symbol)
    if isinstance(clone, textgen.ListSymbol):
        clone.symbol = _fresh(clone.symbol, textgen)
    if isinstance(clone, textgen.ConditionalSymbol):
        clone.expression = _fresh(clone.expression, textgen)
    clone.context = {}
    return clone


def _memoise_parsing(textgen: Any, pddl_logic: Any, logic: Any) -> None:
    parse_template = textgen._parse_and_convert

    @functools.lru_cache(maxsize=PARSES_KEPT)
    def parse_once(text: str, rule_name: str) -> Any:
        return parse_template(text, rule_name=rule_name)

    def parse(text: str, rule_name: str = "symbols", trace: bool = False) -> list[Any]:
        return [_fresh(symbol, textgen) for symbol in parse_once(text, rule_name)]

    textgen._parse_and_convert = parse

    parse_document = pddl_logic._parse_and_convert

    @functools.lru_cache(maxsize=64)
    def parse_document_once(text: str, rule_name: str) -> Any:
        return parse_document(text, rule_name=rule_name)

    pddl_logic._parse_and_convert = parse_document_once

    parse_query = functools.lru_cache(maxsize=PARSES_KEPT)(logic.Rule.parse_conjunctive_query)
    logic.Rule.parse_conjunctive_query = classmethod(lambda cls, expression: parse_query(expression))


def _share_contexts(textgen: Any, logic: Any) -> None:
    def copy_context(context: dict[str, Any]) -> dict[str, Any]:
        return {**context, "variables": dict(context["variables"]), "mapping": dict(context["mapping"])}

    def copy_symbol(self: Any, context: dict[str, Any]) -> Any:
        clone = _fresh(self, textgen)
        clone.context = copy_context(context)
        return clone

    def replace(self: Any, start: Any) -> list[Any]:
        rules = self._rules.get(str(start))
        if not rules:
            raise textgen.CSGUnknownSymbolError(start)
        state, mapping = start.context["state"], start.context["mapping"]
        for rule in rules:
            if rule.condition:
                query = logic.Rule.parse_conjunctive_query(rule.condition)
                if next(iter(state.all_assignments(query, mapping)), None) is None:
                    continue
            return [copy_symbol(symbol, start.context) for symbol in rule.rhs]
        raise IndexError(f"no rule for {start} applies")

    textgen.copy_context = copy_context
    textgen.Symbol.copy = copy_symbol
    textgen.ContextSensitiveGrammar.replace = replace


def _memoise_translation(fast_downward: Any) -> None:
    translate = fast_downward.pddl2sas
    load_library = fast_downward.load_lib
    translations: dict[bytes, Any] = {}

    def translate_once(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> Any:
        if optimize:
            return None, _NO_PLANNER
        key = hashlib.sha256(f"{domain}\0{problem}".encode()).digest()
        if key not in translations:
            arguments = sys.argv
            try:
                result = translate(domain, problem, verbose=verbose, optimize=False)
            finally:
                sys.argv = arguments  # the translator replaces the arguments of the process
            if len(translations) >= TRANSLATIONS_KEPT:
                translations.pop(next(iter(translations)))
            translations[key] = result
        return translations[key]

    def load_library_without_planner() -> Any:
        return _WithoutPlanner(load_library())

    fast_downward.pddl2sas = translate_once
    fast_downward.load_lib = load_library_without_planner


class _WithoutPlanner:
    """The native library, deaf to the empty planner problem."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handle = library._handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def load_sas_replan(self, problem: bytes) -> None:
        if problem != _NO_PLANNER.encode():
            self._library.load_sas_replan(problem)
