"""An environment whose worker processes are killed while it is played, and an evaluation with and without it."""

import os
import signal

import interlat
from interlat.environments.protocol import ENVIRONMENTS

COMPARED = ("item", "variant", "success", "score", "steps", "turns", "refused_actions", "failure")
TURNS_BETWEEN_KILLS = 7


def workers(environment):
    """The process ids of the workers."""
    return [worker.process.pid for worker in environment._pool._workers if worker is not None]


def records_despite_kills(monkeypatch, kind, folder, **settings):
    """Records of an evaluation in an environment of a class, which killed workers did not change."""

    class Disturbed(kind):
        """A worker is killed before every seventh turn."""

        turns = 0

        def step(self, items, replies):
            Disturbed.turns += 1
            if Disturbed.turns % TURNS_BETWEEN_KILLS == 0:
                os.kill(workers(self)[0], signal.SIGKILL)
            return super().step(items, replies)

    found = {}
    for name, made in (("calm", kind), ("disturbed", Disturbed)):
        monkeypatch.setitem(ENVIRONMENTS._places, name, lambda made=made: made)
        output = str(folder / name)
        records = interlat.evaluate(environment=name, dtype="float32", output=output, **settings).records
        found[name] = [[line[field] for field in COMPARED] for line in records]
    assert Disturbed.turns > TURNS_BETWEEN_KILLS
    assert found["disturbed"] == found["calm"]
    return records
