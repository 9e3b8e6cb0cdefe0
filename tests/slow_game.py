"""One game played alone, by a loop that shares no code with the package's batches: what these are compared with."""

from interlat.engine.prompt import Latents, Text
from interlat.environments.actions import action_in
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE, actor_prompt


def slow_game(agent, pool, record, message, sampling, seed=None):
    """(turns, won, steps, positions read) of one game; the message is a text, states ``[K, D]`` or None."""
    engine, game = agent.engine, record["game"]
    [seen] = pool.reset([game])
    body = [Text(message, literal=True)] if isinstance(message, str) else []
    if message is not None and not isinstance(message, str):
        body = [Latents(agent.adapter(message[None].float(), dtype=engine.dtype)[0].detach())]
    content = [Text(actor_prompt(seen.text), literal=True), Text(BEGIN_MESSAGE), *body, Text(END_MESSAGE)]
    memory = engine.prefill([engine.chat.opening([("user", content)])])
    turns, written = [], 0
    while True:
        read = int(memory.next_position[0]) - written
        decoded = engine.decode(memory, sampling, None if seed is None else [seed + len(turns)])
        written += len(decoded.token_ids[0])
        command = action_in(engine.chat.opened_thought + decoded.texts[0])
        [seen] = pool.step([game], [command])
        turns.append((command, seen.text))
        if seen.won or seen.done or seen.steps >= record["max_steps"]:
            return tuple(turns), seen.won, seen.steps, read
        memory = engine.prefill([engine.chat.continuation(seen.text)], decoded.cache)
