"""The engine's state and its admissible commands, computed once where they cannot change."""

import functools
import re
from collections.abc import Iterator
from typing import Any

_START_ATTRIBUTES = ("_facts", "_vars_by_name", "_vars_by_type", "_var_counts")


def patch_state(pddl_logic: Any, logic: Any, fast_downward: Any) -> None:
    """Make `PddlState` start from what an earlier start of the same problem built, and search its facts faster."""
    state_class = pddl_logic.PddlState
    build = state_class.__init__

    def start(self: Any, downward_lib: Any, pddl_problem: str, game: Any) -> None:
        # A loaded game keeps its translation: those kept by text are fewer than the games of a large evaluation.
        translations = game.__dict__.setdefault("_interlat_translations", {})
        if pddl_problem not in translations:
            translations[pddl_problem] = fast_downward.pddl2sas(game.domain, pddl_problem)
        task, sas = translations[pddl_problem]
        known = task.__dict__.setdefault("_interlat_start", {})
        if not known:
            build(self, downward_lib, pddl_problem, game)
            known.update({name: _copy(getattr(self, name)) for name in _START_ATTRIBUTES})
            known |= {"name2type": self.name2type, "_actions": self._actions}
            return
        self._logic, self.downward_lib, self.pddl_problem = game, downward_lib, pddl_problem
        self.task, self.sas, self.sas_replan = task, sas, ""
        for type_ in task.types:
            if type_.name not in game.types._types:
                game.types.add(logic.Type(type_.name, type_.supertype_names))
        downward_lib.load_sas(sas.encode())
        for name, value in known.items():
            setattr(self, name, _copy(value) if name in _START_ATTRIBUTES else value)

    def all_applicable_actions(self: Any) -> list[Any]:
        operators = (fast_downward.Operator * self.downward_lib.get_applicable_operators_count())()
        self.downward_lib.get_applicable_operators(operators)
        self._operators = {operator.id: operator for operator in operators}
        known = self.task.__dict__.setdefault("_interlat_operators", {})
        actions: dict[str, Any] = {}
        for identifier, operator in self._operators.items():
            if identifier not in known:
                known[identifier] = operator.name, *_parts(self, operator.name)
            full_name, name, mapping = known[identifier]
            if full_name in actions:
                continue
            action = actions[full_name] = logic.Action(name=name, preconditions=[], postconditions=[])
            action.id, action.mapping = identifier, mapping
            action.command_template = self._logic.actions[name].template
            action.feedback_rule = self._logic.actions[name].feedback_rule
        return list(actions.values())

    def _parts(self: Any, full_name: str) -> tuple[str, Any]:
        name, *arguments = full_name.split()
        return name, {
            logic.Placeholder(parameter.name.strip("?"), parameter.type_name): logic.Variable(
                argument, parameter.type_name
            )
            for parameter, argument in zip(self._actions[name].parameters, arguments, strict=False)
        }

    state_class.__init__ = start
    state_class.all_applicable_actions = all_applicable_actions
    state_class._all_applicable_assignments = _all_applicable_assignments


def _copy(table: Any) -> Any:
    """A copy of a table two levels deep: the facts in it never change."""
    fresh = table.copy()
    fresh.update({key: value.copy() for key, value in table.items() if isinstance(value, set)})
    return fresh


def _all_applicable_assignments(
    self: Any, rule: Any, mapping: Any, used_vars: Any, new_phs_by_depth: Any, depth: int
) -> Iterator[Any]:
    """The stock search, with the facts that contradict a known variable left out before they are sorted."""
    new_placeholders = new_phs_by_depth[depth]
    if depth >= len(rule.preconditions):
        yield from self._all_assignments(new_placeholders, mapping, used_vars, False)
        return
    predicate = rule.preconditions[depth]
    known = [
        (place, mapping[placeholder].name)
        for place, placeholder in enumerate(predicate.parameters)
        if mapping.get(placeholder) is not None
    ]
    for signature in _signatures(self._logic.types, predicate.signature):
        facts = self.facts_with_signature(signature)
        for place, name in known:
            facts = [fact for fact in facts if fact.arguments[place].name == name]
        for fact in sorted(facts, key=_names):
            for placeholder, variable in zip(predicate.parameters, fact.arguments, strict=False):
                existing = mapping.get(placeholder)
                if existing is None:
                    if variable in used_vars:
                        break
                    mapping[placeholder] = variable
                    used_vars.add(variable)
                elif existing != variable:
                    break
            else:
                yield from self._all_applicable_assignments(rule, mapping, used_vars, new_phs_by_depth, depth + 1)
            for placeholder in new_placeholders:
                used_vars.discard(mapping.pop(placeholder, None))


def _names(fact: Any) -> list[str]:
    return [variable.name for variable in fact.arguments]


def _signatures(types: Any, signature: Any) -> list[Any]:
    known = types.__dict__.setdefault("_interlat_signatures", {})
    if signature not in known:
        ranges = types.multi_subtypes([types.get(name) for name in signature.types])
        known[signature] = [type(signature)(signature.name, [kind.name for kind in kinds]) for kinds in ranges]
    return known[signature]


def patch_environment(pddl_environment: Any, textgen: Any) -> None:
    """Make `PddlEnv` word each admissible command once for each load where its words depend on nothing that changes."""
    environment = pddl_environment.PddlEnv
    load = environment.load

    def load_and_forget(self: Any, filename_or_data: Any) -> None:
        self._interlat_commands = {}
        load(self, filename_or_data)
        self._interlat_changing = _changing_predicates(self._pddl_state.task)

    def gather_infos(self: Any) -> None:
        state = self.state
        names = self._entity_infos
        state["command_templates"] = sorted({action.template for action in self._logic.actions.values()})
        state["won"] = self._pddl_state.check_goal()
        state["lost"] = False
        state["_entity_infos"] = dict(names)
        facts = list(self._pddl_state.facts)
        state["_facts"] = facts
        if self.request_infos.facts:
            state["facts"] = list(map(self._get_human_readable_fact, facts))
        state["last_action"] = None
        state["_last_action"] = self._last_action
        state["_valid_actions"] = self._pddl_state.all_applicable_actions()
        state["_valid_commands"] = [_word(self, action, facts, textgen) for action in state["_valid_actions"]]
        state["admissible_commands"] = sorted(set(state["_valid_commands"]))
        if self.request_infos.moves:
            state["moves"] = self._moves

    environment.load = load_and_forget
    environment._gather_infos = gather_infos


def _changing_predicates(task: Any) -> frozenset[str]:
    changed = {effect.literal.predicate for action in task.actions for effect in action.effects}
    return frozenset(changed | {f"not_{name}" for name in changed} | {axiom.name for axiom in task.axioms})


def _word(environment: Any, action: Any, facts: list[Any], textgen: Any) -> str:
    """The command for an action; sets the action's template to its derived form as the stock engine does."""
    template = action.command_template
    names = tuple([(holder.name, variable.name) for holder, variable in action.mapping.items()])
    deciding = _deciding(template, frozenset(action.mapping), environment._interlat_changing, textgen)
    key = None if deciding is None else (template, *(pair for pair in names if pair[0] in deciding))
    if key is None or key not in environment._interlat_commands:
        infos = environment._entity_infos
        context = {
            "state": environment._pddl_state,
            "facts": facts,
            "variables": {holder: infos[name] for holder, name in names},
            "mapping": action.mapping,
            "entity_infos": infos,
        }
        action.command_template = environment._logic.grammar.derive(template, context)
        command = action.format_command({name: info.name for name, info in infos.items()})
        if key is not None:
            environment._interlat_commands[key] = action.command_template, command
        return command
    action.command_template, command = environment._interlat_commands[key]
    return command


@functools.lru_cache(maxsize=4096)
def _deciding(template: str, holders: frozenset[Any], changing: frozenset[str], textgen: Any) -> frozenset[str] | None:
    """The placeholders that decide a template's words; None where the words also depend on what actions change."""
    from textworld.logic import Rule

    every = frozenset(holder.name for holder in holders)
    deciding = frozenset(re.findall(r"\w+", template)) & every
    pending = list(textgen._parse_and_convert(template, rule_name="symbols"))
    while pending:
        symbol = pending.pop()
        if isinstance(symbol, textgen.NonterminalSymbol):
            return None
        if isinstance(symbol, textgen.ListSymbol):
            pending.append(symbol.symbol)
        elif isinstance(symbol, textgen.ConditionalSymbol):
            pending.append(symbol.expression)
            query = Rule.parse_conjunctive_query(symbol.given) if symbol.given else None
            if query and any(condition.name in changing for condition in query.preconditions):
                return None
            if query and not set(query.placeholders) <= holders:
                deciding = every  # what the query may bind depends on every variable that is bound already
    return deciding
