import json
import sys

from interlat.environments.alfworld.datalog import compute_model


def test_same_atoms_in_the_same_order(small_games, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["translate.py", "domain", "task"])
    from fast_downward.translate import build_model, normalize, pddl_to_prolog
    from fast_downward.translate.pddl_parser import lisp_parser, parsing_functions

    for path in small_games["train"][3:5]:
        game = json.loads(path.read_text())
        domain, problem = (
            lisp_parser.parse_nested_list(game[key].split("\n")) for key in ("pddl_domain", "pddl_problem")
        )
        task = parsing_functions.parse_task(domain, problem)
        normalize.normalize(task)
        program = pddl_to_prolog.translate(task)
        expected = [(str(atom.predicate), atom.args) for atom in reference_model(program, build_model)]
        assert [(str(atom.predicate), atom.args) for atom in compute_model(program)] == expected


def reference_model(program, build_model):
    """The translator's own loop, without what it prints, and without its auxiliary atoms."""
    unifier = build_model.Unifier(build_model.convert_rules(program))
    queue = build_model.Queue(sorted(fact.atom for fact in program.facts))
    while queue:
        atom = queue.pop()
        for rule, condition in unifier.unify(atom):
            rule.update_index(atom, condition)
            rule.fire(atom, condition, queue.push)
    return [atom for atom in queue.queue if not (isinstance(atom.predicate, str) and "$" in atom.predicate)]
