"""Plays household games and prints how long that took: `python -m benchmarks evaluation` runs it.

``python -m benchmarks.evaluation_play ours|plain CASE GAMES COUNT FOLDER``, ours also under ``torchrun``, as
`interlat evaluate` is. The plain side plays one game at a time with `generate` of transformers, and gives it the whole
conversation again in every turn.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.evaluation import REAL, VARIANTS
from interlat.agents.agent import Agent
from interlat.engine.cache_message import header_of
from interlat.engine.distributed import Ranks
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Part, Tokens, embed_prompts, tokenize
from interlat.engine.sampling import Sampling
from interlat.environments.protocol import EnvironmentOptions, Item
from interlat.evaluation.run import read_run, run, text_for
from interlat.experiments.household.commands.demo import bundled_checkpoints, real_checkpoints
from interlat.experiments.household.environment import HouseholdEnvironment
from interlat.experiments.household.evaluate import EvaluateHousehold, agents_of, arms_of, play_settings
from interlat.messages import HiddenMessage, Message, TextMessage

THREADS, WORKERS = 2, 2
"""Of torch, and processes that games run in; each side has as many, in all of its processes together."""
Actions = dict[str, list[str]]
"""Item -> what was done in it."""


def play(kind: str, case: str, games: str, count: int, folder: str, ranks: Ranks) -> dict[str, Any]:
    """Variant -> seconds until the last process has ended, and the actions of every item."""
    torch.set_num_threads(max(1, THREADS // ranks.world_size))
    records = [json.loads(line) for line in Path(games).read_text().splitlines()][:count]
    checkpoints = real_checkpoints() if case == REAL else bundled_checkpoints()
    found = {}
    for variant in VARIANTS:
        config = EvaluateHousehold(checkpoints, str(Path(folder) / kind / variant), variants=(variant,))
        workers = max(1, WORKERS // ranks.world_size)
        environment = HouseholdEnvironment(EnvironmentOptions(workers=workers), records, games_kept=len(records))
        agents = agents_of(config)
        # The games' processes are there, and every game is loaded, before the clock starts.
        environment.start(ranks.share(environment.items()))
        for agent in agents.values():
            # Whatever is made at the first call, of either side.
            agent.reply("Hello", sampling=Sampling(max_new_tokens=2))
            _generated(agent, agent.prompt("Hello"), 2)
        ranks.wait()
        began = time.perf_counter()
        actions = _ours(config, environment, agents, ranks) if kind == "ours" else _plain(config, environment, agents)
        found[variant] = {"seconds": time.perf_counter() - began, "actions": actions}
        environment.close()
    return found


def _ours(
    config: EvaluateHousehold, environment: HouseholdEnvironment, agents: dict[str, Agent], ranks: Ranks
) -> Actions:
    for _ in run(environment, agents, arms_of(config), play_settings(config), ranks):
        pass
    records = read_run(config.output).records
    return {line["item"]: [turn["action"] for turn in line["turns"]] for line in records}


def _plain(config: EvaluateHousehold, environment: HouseholdEnvironment, agents: dict[str, Agent]) -> Actions:
    (arm,), settings = arms_of(config), play_settings(config)
    sender, receiver = agents[arm.sender], agents[arm.receiver]
    played = {}
    for item in environment.items():
        message = None
        if arm.channel.kind != "none":
            plan = _generated(sender, sender.task_prompt(text_for(item, "all")), settings.send.sampling.max_new_tokens)
            message = _message(arm.channel.kind, sender, *plan)
        played[item.id] = _episode(environment, item, receiver, message, settings.reply.max_new_tokens)
    return played


def _episode(
    environment: HouseholdEnvironment, item: Item, receiver: Agent, message: Message | None, most_tokens: int
) -> list[str]:
    (outcome,) = environment.start([item])
    conversation, actions = receiver.prompt(outcome.text, message), list[str]()
    while not outcome.done and len(actions) < item.max_steps:
        ids, _ = _generated(receiver, conversation, most_tokens)
        (outcome,) = environment.step([item], [_text(receiver, ids)])
        actions.append(outcome.action or "")
        conversation = [*conversation, Tokens(tuple(ids)), *receiver.chat.continuation(outcome.text)]
    return actions


@torch.no_grad()
def _generated(agent: Agent, prompt: Sequence[Part], most_tokens: int) -> tuple[list[int], torch.Tensor]:
    """What `generate` writes, and the state that predicted each token."""
    engine = agent.engine
    assert isinstance(engine, HFEngine), "the bundled models are of Hugging Face"
    model = engine.model
    embeddings, mask = embed_prompts(
        [tokenize(prompt, engine.tokenizer)], model.get_input_embeddings(), engine.hidden_size
    )
    ends = set(engine.stop_ids)
    output = model.generate(
        inputs_embeds=embeddings,
        attention_mask=mask.long(),
        max_new_tokens=most_tokens,
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=0,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )
    ids = output.sequences[0].tolist()
    kept = ids[:-1] if ids and ids[-1] in ends else ids
    states = torch.cat([step[-1][0, -1:] for step in output.hidden_states])[: len(kept)]
    return kept, states


def _message(kind: str, sender: Agent, ids: list[int], states: torch.Tensor) -> Message:
    text = _text(sender, ids)
    if kind == "text":
        return TextMessage(text)
    return HiddenMessage(states.bfloat16(), text, header=header_of(sender.engine))


def _text(agent: Agent, ids: list[int]) -> str:
    return str(agent.engine.tokenizer.decode(ids, skip_special_tokens=True))


if __name__ == "__main__":
    kind, case, games, count, folder = sys.argv[1:]
    with Ranks.from_environment().together() as ranks:
        played = play(kind, case, games, int(count), folder, ranks)
        if ranks.is_first:
            print(json.dumps(played))
