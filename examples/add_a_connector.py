"""Add a connector in one file: what a model reads in its next latent step is half of its last state.

Run it: ``python examples/add_a_connector.py``. A package of your own names it in its ``pyproject.toml`` instead::

    [project.entry-points."interlat.connectors"]
    halved = "your_package.halved:Halved"
"""

import interlat
from interlat.connectors.base import CONNECTORS, build_connector


class Halved:
    """e = h / 2."""

    def __init__(self, engine, factor: float = 0.5) -> None:
        self.source_size = self.target_size = engine.hidden_size
        self.factor = factor

    def __call__(self, hidden_states, mask=None):
        """The next inputs; zeros where ``mask`` is False."""
        following = self.factor * hidden_states
        return following if mask is None else following.masked_fill(~mask.unsqueeze(-1), 0.0)


def main() -> None:
    """Think with it, and look at what the latents say under the logit lens."""
    CONNECTORS.add("halved", Halved)
    agent = interlat.load(interlat.bundled("alfworld-mini/scout"))
    message = agent.think("Find the apple.", steps=3, align=build_connector("halved", agent.engine))
    print(interlat.inspect(message, agent, top_k=2))


if __name__ == "__main__":
    main()
