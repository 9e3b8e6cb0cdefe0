"""Loading an agent: a model with what interlat keeps beside it."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from interlat.agents.agent import Agent
from interlat.agents.settings import AgentSettings
from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.bridge import Bridge
from interlat.engine.checkpoint import companion_file
from interlat.engine.protocol import Engine, load_model
from interlat.engine.template import TemplateOptions
from interlat.places import REMOTE, at_home


def load(
    path_or_hub_id: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    trust_remote_code: bool = False,
    template: TemplateOptions | None = None,
    engine: str = "hf",
    base_url: str = "",
) -> Agent:
    """Load an agent: any Hugging Face causal language model or GGUF file, with what interlat keeps beside it.

    ``openai:NAME`` is a model behind an OpenAI-compatible server, which writes and replies in words alone; its number
    format and device are the server's affair.

    Beside the model in its folder may stand ``adapter.safetensors`` (it reads hidden messages), ``bridge.safetensors``
    (it was trained to send a few latents) and ``agent.json`` (role, prompts, sampling; see `AgentSettings`).

    Args:
        path_or_hub_id: a directory, a GGUF file (that file alone), a name of `interlat models list` or a hub id, see
            `interlat.engine.hf.HFEngine.load`.
        dtype, device, trust_remote_code: see `interlat.engine.hf.HFEngine.load`.
        template: arguments of the chat template, over those in ``agent.json``.
        engine: what runs the model, by its name among `interlat.engine.protocol.ENGINES`.
        base_url: of an ``openai:`` model, see `interlat.engine.openai.OpenAIEngine`.

    Raises:
        InputError: there is no such engine.
        CheckpointError: no usable model in that place, or its parts are damaged or do not fit each other.
    """
    place = at_home(path_or_hub_id)
    if place.startswith(REMOTE):
        from interlat.agents.remote import RemoteAgent
        from interlat.engine.openai import OpenAIEngine

        settings = AgentSettings(template=template or TemplateOptions())
        return RemoteAgent(OpenAIEngine(place.removeprefix(REMOTE), base_url), settings=settings)
    runs, settings = load_engine(
        place, template, engine=engine, dtype=dtype, device=device, trust_remote_code=trust_remote_code
    )
    adapter_file = companion_file(place, CommunicationAdapter.FILE)
    bridge_file = companion_file(place, Bridge.FILE)
    return Agent(
        runs,
        CommunicationAdapter.load(adapter_file.parent) if adapter_file else None,
        settings,
        Bridge.load(bridge_file.parent) if bridge_file else None,
    )


def load_engine(place: str, template: TemplateOptions | None = None, **options: Any) -> tuple[Engine, AgentSettings]:
    """The model of an agent, which writes prompts as in its training, and its settings.

    Args:
        place: a directory or a hub id.
        template: arguments of the chat template, over those in ``agent.json``.
        options: passed on to `interlat.engine.protocol.load_model`, ``engine`` among them.

    Raises:
        CheckpointError: no usable model in that place, or ``agent.json`` is damaged.
    """
    engine = load_model(place, **options)
    settings = AgentSettings.beside(place)
    if template is not None:
        settings = dataclasses.replace(settings, template=template.over(settings.template))
    return engine.with_template(settings.template), settings
