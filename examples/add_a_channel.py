"""Add a channel in one file: the receiver gets the first three words of the sender's plan.

Run it: ``python examples/add_a_channel.py``. A package of your own names the class in its ``pyproject.toml`` instead::

    [project.entry-points."interlat.channels"]
    words = "your_package.words:FirstWords"
"""

import tempfile
from dataclasses import replace

import interlat
from interlat.channels.protocol import CHANNELS
from interlat.channels.text import TextChannel


class FirstWords(TextChannel):
    """``words:N``: the plan is cut after N words; three where no number is given."""

    def __init__(self, argument: str = "") -> None:
        super().__init__()
        self.count = int(argument or 3)
        self.name = f"words:{self.count}"

    def message(self, made, options):
        """What travels of what the sender wrote."""
        whole = super().message(made, options)
        return None if whole is None else replace(whole, text=" ".join(whole.text.split()[: self.count]))


def main() -> None:
    """Let a bundled pair speak over it, on generated word problems."""
    CHANNELS.add("words", FirstWords)
    with tempfile.TemporaryDirectory() as folder:
        results = interlat.evaluate(
            sender=interlat.bundled("alfworld-mini/scout"),
            receiver=interlat.bundled("alfworld-mini/text"),
            environment="arithmetic",
            count=2,
            channels=("words:2", "text"),
            max_plan_tokens=12,
            max_new_tokens=4,
            output=folder,
        )
    for line in results.records:
        print(line["item"], line["variant"], f"{line['message_bytes']} bytes")


if __name__ == "__main__":
    main()
