"""Plays games at random through TextWorld and prints a digest of all that came back: ``stock`` or ``fast`` engine."""

import hashlib
import json
import random
import sys

kind, steps, *games = sys.argv[1:]
sys.argv = ["random_play"]  # the stock translator reads the arguments of the process

import textworld  # noqa: E402
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos  # noqa: E402
from textworld.envs import PddlEnv  # noqa: E402

if kind == "fast":
    from interlat.environments.alfworld.fast import install

    install()

environment = AlfredInfos(AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True, facts=True))))
digest = hashlib.sha256()


def take_in(command, state, *outcome):
    facts = sorted(map(str, state["facts"]))
    digest.update(
        json.dumps([command, state.feedback, state["admissible_commands"], facts, state["won"], outcome]).encode()
    )


for number, game in enumerate(games):
    rng = random.Random(number)
    environment.load(game)
    for _ in range(2):  # the second start of a game takes another way through the caches
        state = environment.reset()
        take_in(None, state)
        for _ in range(int(steps)):
            commands = state["admissible_commands"]
            doing = [c for c in commands if not c.startswith(("go", "look", "inventory", "help", "examine", "close"))]
            command = rng.choice(doing if doing and rng.random() < 0.6 else [*commands, "fly to the moon"])
            state, reward, done = environment.step(command)
            take_in(command, state, reward, done)
print(digest.hexdigest())
