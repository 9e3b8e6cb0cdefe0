"""Add a control in one file: the latents of a message, each with its sign turned.

Run it: ``python examples/add_a_control.py``. A package of your own names it in its ``pyproject.toml`` instead::

    [project.entry-points."interlat.controls"]
    negated = "your_package.negated:NEGATED"
"""

import tempfile

import interlat
from interlat.controls.messages import CONTROLS, MessageControl
from interlat.messages import HiddenMessage, Message


def negated(message: Message, item: str, seed: int) -> Message:
    """H' = -H: length and norms stay, every direction is turned."""
    return HiddenMessage(-message.hidden_states, header=message.header)


NEGATED = MessageControl(kinds=("hidden",), apply=negated)


def main() -> None:
    """Compare it with the true message, on generated word problems."""
    CONTROLS.add("negated", NEGATED)
    with tempfile.TemporaryDirectory() as folder:
        results = interlat.evaluate(
            sender=interlat.bundled("alfworld-mini/scout"),
            receiver=interlat.bundled("alfworld-mini/latent"),
            environment="arithmetic",
            count=2,
            channels=("hidden",),
            controls=("negated",),
            max_plan_tokens=8,
            max_new_tokens=4,
            output=folder,
        )
    for line in results.records:
        print(line["item"], line["variant"], "solved" if line["success"] else "not solved")


if __name__ == "__main__":
    main()
