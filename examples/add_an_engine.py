"""Add an engine in one file: one that says what it runs, and leaves the running to the reference.

Run it: ``python examples/add_an_engine.py``. An engine of your own subclasses `interlat.engine.protocol.Engine`, which
lists what it must do, and is named in the ``pyproject.toml`` of its package::

    [project.entry-points."interlat.engines"]
    counting = "your_package.counting:CountingEngine"
"""

import interlat
from interlat.engine.hf import HFEngine
from interlat.engine.protocol import ENGINES


class CountingEngine(HFEngine):
    """Counts the prompts that it reads."""

    prompts = 0

    def prefill(self, prompts, cache=None, *, segment="prompt", spare=0):
        """As the reference."""
        CountingEngine.prompts += len(prompts)
        return super().prefill(prompts, cache, segment=segment, spare=spare)


def main() -> None:
    """Load a bundled pair with it, and let the one speak to the other."""
    ENGINES.add("counting", CountingEngine)
    sender = interlat.load(interlat.bundled("alfworld-mini/scout"), engine="counting")
    receiver = interlat.load(interlat.bundled("alfworld-mini/latent"), engine="counting")
    message = sender.write("Find the apple.", max_new_tokens=8)
    print(repr(receiver.reply("You are in a room.", message, max_new_tokens=8)))
    print(f"{CountingEngine.prompts} prompts")


if __name__ == "__main__":
    main()
