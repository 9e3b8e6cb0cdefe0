"""Makes TextWorld's PDDL engine fast without changing a text.

Profiling the stock engine (TextWorld 1.7.0) shows the same things computed again and again; `install` patches the
engine of this process so that each is computed once:

1. templates, conditions and the grammar document go through a parser generator at every use: memoised by source;
2. a context is deep-copied for every symbol of a text although only two of its dictionaries are written to;
3. the PDDL problem is translated four times for each load and reset, twice of them for the planner, which only
   `policy_commands` uses: memoised by content, the planner's translation left out (`translation`);
4. each step words every admissible command anew although the words never change in a game (`state`).

A test compares texts, admissible commands, rewards and ends with the stock engine in another process, bit for bit.
"""

import copy
import functools
import re
from typing import Any

from interlat.environments.alfworld.state import patch_environment, patch_state
from interlat.environments.alfworld.translation import patch_translation

PARSES_KEPT = 20_000
_TASK_SENTENCE = re.compile(r"(?<=Your task is to: )[A-Za-z0-9 ,.'-]+(?=\.\")")
_TASK_MARK = "the task of this game"


@functools.cache
def install() -> None:
    """Patch TextWorld in this process; calling it again does nothing. The planner is not available afterwards."""
    import fast_downward
    import textworld.envs.pddl.logic as pddl_logic
    import textworld.envs.pddl.pddl as pddl_environment
    import textworld.envs.pddl.textgen as textgen
    import textworld.logic as logic

    patch_translation(fast_downward)
    _memoise_parsing(textgen, pddl_logic, logic)
    _share_contexts(textgen, logic)
    patch_state(pddl_logic, logic, fast_downward)
    patch_environment(pddl_environment, textgen)


def _fresh(symbol: Any, textgen: Any) -> Any:
    """A copy of a parsed symbol with a context of its own: the engine writes to a symbol's context."""
    clone = object.__new__(type(symbol))
    clone.__dict__.update(symbol.__dict__, context={})
    if isinstance(clone, textgen.ListSymbol):
        clone.symbol = _fresh(clone.symbol, textgen)
    elif isinstance(clone, textgen.ConditionalSymbol):
        clone.expression = _fresh(clone.expression, textgen)
    return clone


def _memoise_parsing(textgen: Any, pddl_logic: Any, logic: Any) -> None:
    parse_template = textgen._parse_and_convert

    @functools.lru_cache(maxsize=PARSES_KEPT)
    def parse_once(text: str, rule_name: str) -> Any:
        return parse_template(text, rule_name=rule_name)

    def parse(text: str, rule_name: str = "symbols", trace: bool = False) -> list[Any]:
        return [_fresh(symbol, textgen) for symbol in parse_once(text, rule_name)]

    textgen._parse_and_convert = parse

    parse_document = functools.lru_cache(maxsize=64)(pddl_logic._parse_and_convert)

    def parse_document_without_task(text: str, rule_name: str) -> Any:
        sentences = _TASK_SENTENCE.findall(text)
        if len(sentences) != 1:
            return parse_document(text, rule_name=rule_name)
        actions, grammar = parse_document(_TASK_SENTENCE.sub(_TASK_MARK, text), rule_name=rule_name)
        return actions, _with_task(grammar, sentences[0], textgen)

    pddl_logic._parse_and_convert = parse_document_without_task

    parse_query = functools.lru_cache(maxsize=PARSES_KEPT)(logic.Rule.parse_conjunctive_query)
    logic.Rule.parse_conjunctive_query = classmethod(lambda cls, expression: parse_query(expression))


def _with_task(grammar: Any, sentence: str, textgen: Any) -> Any:
    """The grammar of a game whose task is ``sentence``: all games share the rest of it."""
    changed = textgen.ContextSensitiveGrammar()
    changed.update(grammar)
    for name, rules in changed._rules.items():
        if not any(_TASK_MARK in str(symbol) for rule in rules for symbol in rule.rhs):
            continue
        changed._rules[name] = [copy.copy(rule) for rule in rules]
        for rule in changed._rules[name]:
            rule.rhs = [_fresh(symbol, textgen) for symbol in rule.rhs]
            for symbol in rule.rhs:
                if isinstance(symbol, textgen.TerminalSymbol):
                    symbol.symbol = symbol.symbol.replace(_TASK_MARK, sentence)
    return changed


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

    @functools.lru_cache(maxsize=PARSES_KEPT)
    def compiled(expression: str) -> Any:
        return compile(expression, "<text>", "eval")

    def evaluate(self: Any, context: dict[str, Any] | None = None) -> list[Any]:
        variables = dict((context or self.context)["variables"])
        return [textgen.TerminalSymbol(eval(compiled(self.expression.strip()), textgen.__dict__, variables))]

    def derive(self: Any, start: str, context: dict[str, Any]) -> str:
        pending = textgen._parse_and_convert(start, rule_name="symbols")[::-1]
        for symbol in pending:
            symbol.context = copy_context(context)
        derived = []
        while pending:
            symbol = pending.pop()
            if isinstance(symbol, textgen.TerminalSymbol):
                derived.append(str(symbol))
            elif isinstance(symbol, textgen.NonterminalSymbol):
                pending += self.replace(symbol)[::-1]
            else:
                pending += symbol.derive()[::-1]
        return "".join(derived)

    textgen.EvalSymbol.derive = evaluate
    textgen.ContextSensitiveGrammar.derive = derive
    textgen.copy_context = copy_context
    textgen.Symbol.copy = copy_symbol
    textgen.ContextSensitiveGrammar.replace = replace
