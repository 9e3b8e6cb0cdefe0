"""Loads an agent: a model and the files that interlat keeps beside it."""

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
    """Load an agent: any Hugging Face causal language model or GGUF file, with the files that interlat keeps beside it.

    ``openai:NAME`` is a model behind an OpenAI-compatible server. It sends and reads text only, and the server chooses
    its number format and device.

    The model's folder may also hold ``adapter.safetensors`` (the model reads hidden messages), ``bridge.safetensors``
    (it was trained to send a few latents) and ``agent.json`` (role, prompts, sampling; see `AgentSettings`).

    Args:
        path_or_hub_id: a directory, a GGUF file (only that file is used), a name from `interlat models list` or a hub
            id; see `interlat.engine.hf.HFEngine.load`.
        dtype, device, trust_remote_code: see `interlat.engine.hf.HFEngine.load`.
        template: arguments of the chat template. They override those in ``agent.json``.
        engine: name of the engine that runs the model, from `interlat.engine.protocol.ENGINES`.
        base_url: address of the server of an ``openai:`` model, see `interlat.engine.openai.OpenAIEngine`.

    Raises:
        InputError: there is no such engine.
        CheckpointError: there is no usable model in that place, or its parts are damaged or do not fit each other.
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
    """Load the engine of an agent and its settings; the engine writes prompts as in the model's training.

    Args:
        place: a directory or a hub id.
        template: arguments of the chat template. They override those in ``agent.json``.
        options: passed on to `interlat.engine.protocol.load_model`, including ``engine``.

    Raises:
        CheckpointError: there is no usable model in that place, or ``agent.json`` is damaged.
    """
    engine = load_model(place, **options)
    settings = AgentSettings.beside(place)
    if template is not None:
        settings = dataclasses.replace(settings, template=template.over(settings.template))
    return engine.with_template(settings.template), settings
