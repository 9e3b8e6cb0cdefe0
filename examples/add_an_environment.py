"""Add an environment in one file: a number is guessed, and only the sender is told between which two it is.

Run it: ``python examples/add_an_environment.py``. A package of your own names it in its ``pyproject.toml`` instead::

    [project.entry-points."interlat.environments"]
    guess = "your_package.guess:Guess"
"""

import re
import tempfile
from collections.abc import Sequence

import interlat
from interlat.environments.protocol import ENVIRONMENTS, EnvironmentOptions, Item, Outcome


class Guess:
    """Three guesses a number; the answer says whether it is higher or lower."""

    name = "guess"
    origin = {"data": "numbers from 1 to 9"}  # noqa: RUF012
    reply_tokens = 4

    def __init__(self, options: EnvironmentOptions) -> None:
        self.count = options.limit or 9
        self.guesses: dict[str, int] = {}

    def items(self) -> Sequence[Item]:
        """One item a number."""
        return [
            Item(str(n), "Guess a number from 1 to 9.", notes=f"It is between {n - 1} and {n + 1}.", max_steps=3)
            for n in range(1, self.count + 1)
        ]

    def start(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """The question, once more."""
        self.guesses.update((item.id, 0) for item in items)
        return [Outcome(item.question) for item in items]

    def step(self, items: Sequence[Item], replies: Sequence[str]) -> Sequence[Outcome]:
        """One guess each."""
        return [self._answer(item, reply) for item, reply in zip(items, replies, strict=True)]

    def _answer(self, item: Item, reply: str) -> Outcome:
        self.guesses[item.id] += 1
        number = re.search(r"\d+", reply)
        right = number is not None and number[0] == item.id
        said = "Say a number." if number is None else "Lower." if int(number[0]) > int(item.id) else "Higher."
        return Outcome(said, done=right, success=right, steps=self.guesses[item.id])

    def close(self) -> None:
        """Nothing runs beside the program."""


def main() -> None:
    """Let a bundled pair play it."""
    ENVIRONMENTS.add("guess", Guess)
    with tempfile.TemporaryDirectory() as folder:
        results = interlat.evaluate(
            sender=interlat.bundled("alfworld-mini/scout"),
            receiver=interlat.bundled("alfworld-mini/text"),
            environment="guess",
            limit=2,
            channels=("none", "text"),
            max_plan_tokens=8,
            output=folder,
        )
    for line in results.records:
        print(line["item"], line["variant"], f"{line['steps']} guesses", "right" if line["success"] else "wrong")


if __name__ == "__main__":
    main()
