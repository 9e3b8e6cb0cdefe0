"""The translator's grounding step, several times faster, with the same atoms in the same order.

Fast Downward's translator (Helmert 2009, "Concise finite-domain representations for PDDL planning tasks", section 6)
finds out which actions can ever apply by evaluating a Datalog program. Its Python code copies and zips argument lists
for every atom. Here each rule is compiled once into index lookups on plain tuples. Only the atoms that later steps read
are made into the translator's objects.
"""

from collections.abc import Callable, Sequence
from itertools import product
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

Arguments = tuple[Any, ...]
Push = Callable[[Any, Arguments], None]
Fire = Callable[[Arguments], None]


def compute_model(program: Any) -> list[Any]:
    """The atoms that follow from a Datalog program, in the order of the translator's own breadth-first evaluation.

    Args:
        program: what ``pddl_to_prolog.translate`` gives.

    Returns:
        Facts and derived atoms; the translator's auxiliary atoms ("p$12") are left out, since nothing reads them.
    """
    from fast_downward.translate import build_model, pddl

    rules = build_model.convert_rules(program)
    unifier = build_model.Unifier(rules)
    queue = [(fact.predicate, tuple(fact.args)) for fact in sorted(fact.atom for fact in program.facts)]
    seen = set(queue)

    def push(predicate: Any, arguments: Arguments) -> None:
        atom = (predicate, arguments)
        if atom not in seen:
            seen.add(atom)
            queue.append(atom)

    fires = {id(rule): _compile(rule, build_model, push) for rule in rules}
    always: dict[Any, list[Fire] | None] = {}
    position = 0
    while position < len(queue):
        predicate, arguments = queue[position]
        position += 1
        if predicate not in always:
            always[predicate] = _unconditional(unifier, predicate, fires, build_model)
        matches = always[predicate]
        if matches is None:
            atom = SimpleNamespace(predicate=predicate, args=arguments)
            matches = [fires[id(rule)][condition] for rule, condition in unifier.unify(atom)]
        for fire in matches:
            fire(arguments)
    return [
        pddl.Atom(predicate, arguments)
        for predicate, arguments in queue
        if not (isinstance(predicate, str) and "$" in predicate)
    ]


def _unconditional(unifier: Any, predicate: Any, fires: dict[int, list[Fire]], build_model: Any) -> list[Fire] | None:
    """What to run for every atom of a predicate; None where that depends on the atom's constants."""
    generator = unifier.predicate_to_rule_generator.get(predicate)
    if generator is None:
        return []
    if not isinstance(generator, build_model.LeafGenerator):
        return None
    return [fires[id(rule)][condition] for rule, condition in generator.matches]


def _picker(positions: Sequence[int]) -> Callable[[Arguments], Arguments]:
    """A function that takes these positions of a tuple, always as a tuple."""
    if len(positions) == 1:
        (only,) = positions
        return lambda values: (values[only],)
    if not positions:
        return lambda values: ()
    return itemgetter(*positions)


def _effect_of(rule: Any, order: Sequence[int]) -> Callable[[Arguments], Arguments]:
    """Builds the effect's arguments from the arguments of the conditions, concatenated in ``order``.

    In a rule, an int argument is a position in the effect, anything else a constant or a projected variable.
    """
    source: dict[int, int] = {}
    offset = 0
    for condition in order:
        arguments = rule.conditions[condition].args
        for place, argument in enumerate(arguments):
            if isinstance(argument, int):
                source[argument] = offset + place
        offset += len(arguments)
    constants = tuple(argument for argument in rule.effect.args if not isinstance(argument, int))
    positions = []
    used = 0
    for place, argument in enumerate(rule.effect.args):
        if isinstance(argument, int):
            positions.append(source[place])
        else:
            positions.append(offset + used)
            used += 1
    pick = _picker(positions)
    if constants:
        return lambda values: pick(values + constants)
    return pick


def _compile(rule: Any, build_model: Any, push: Push) -> list[Fire]:
    """For each condition of a rule, what to do with a new atom that meets it."""
    predicate = rule.effect.predicate
    if isinstance(rule, build_model.JoinRule):
        tables: tuple[dict[Arguments, list[Arguments]], ...] = ({}, {})
        keys = [_picker(positions) for positions in rule.common_var_positions]
        effects = [_effect_of(rule, (0, 1)), _effect_of(rule, (1, 0))]
        return [_join(tables, keys[side], effects[side], side, predicate, push) for side in (0, 1)]
    if isinstance(rule, build_model.ProductRule):
        rows: list[list[Arguments]] = [[] for _ in rule.conditions]
        return [_product(rows, rule, number, push) for number in range(len(rows))]
    effect = _effect_of(rule, (0,))
    return [lambda arguments: push(predicate, effect(arguments))]


def _join(
    tables: tuple[dict[Arguments, list[Arguments]], ...],
    key_of: Callable[[Arguments], Arguments],
    effect: Callable[[Arguments], Arguments],
    side: int,
    predicate: Any,
    push: Push,
) -> Fire:
    mine, others = tables[side], tables[1 - side]

    def fire(arguments: Arguments) -> None:
        key = key_of(arguments)
        mine.setdefault(key, []).append(arguments)
        for other in others.get(key, ()):
            push(predicate, effect(arguments + other))

    return fire


def _product(rows: list[list[Arguments]], rule: Any, number: int, push: Push) -> Fire:
    others = [other for other in range(len(rows)) if other != number]
    effect = _effect_of(rule, (number, *others))

    def fire(arguments: Arguments) -> None:
        rows[number].append(arguments)
        if all(rows):
            for combination in product(*(rows[other] for other in others)):
                push(rule.effect.predicate, effect(sum(combination, arguments)))

    return fire
