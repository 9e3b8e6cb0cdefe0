"""Plays games at random in this process and prints the mean seconds of each phase; `python -m benchmarks world`.

``python -m benchmarks.world_play stock|fast STEPS GAME ...``. The first game is not timed.
"""

import hashlib
import json
import random
import sys
import time
from collections import defaultdict
from typing import Any


def play(kind: str, steps: int, games: list[str]) -> dict[str, Any]:
    """Mean seconds of a load, a reset, a step and a whole game, and a digest of all that was printed."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs import PddlEnv

    if kind == "fast":
        from interlat.environments.alfworld.fast import install

        install()
    environment = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)), shuffle=False)
    digest, seconds = hashlib.sha256(), defaultdict[str, float](float)

    def timed(phase: str, function: Any, *arguments: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments)
        if number:
            seconds[phase] += time.perf_counter() - began
        return result

    for number, game in enumerate(games):
        rng = random.Random(number)
        timed("load", environment.load, game)
        state = timed("reset", environment.reset)
        for _ in range(steps):
            digest.update(json.dumps([state.feedback, state["admissible_commands"]]).encode())
            state, _, _ = timed("step", environment.step, rng.choice(state["admissible_commands"]))
    count = len(games) - 1
    return {
        "load": seconds["load"] / count,
        "reset": seconds["reset"] / count,
        "step": seconds["step"] / (count * steps),
        "game": sum(seconds.values()) / count,
        "digest": digest.hexdigest(),
    }


if __name__ == "__main__":
    kind, steps, *games = sys.argv[1:]
    sys.argv = ["world_play"]  # the stock translator reads the arguments of the process
    print(json.dumps(play(kind, int(steps), games)))
