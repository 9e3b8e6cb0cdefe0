import dataclasses
import shutil

import pytest

import interlat
from interlat.agents.settings import AgentSettings
from interlat.engine.hf import Engine
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError
from interlat.evaluation.parallelism import ReadLatents, read_latents
from interlat.store.reading import LatentStore
from interlat.training.compression import compress
from interlat.training.options import Schedule
from interlat.training.settings import Compress


def by_latent(config):
    return {(r["item"], r["step"]): r for *_, records in read_latents(config) for r in records}


@pytest.fixture(scope="module", params=["scout", "text"])
def compressed(request, pipeline, tmp_path_factory):
    """A sender that began as the scout, and one whose latents are projected."""
    output = str(tmp_path_factory.mktemp("compressed"))
    sender = pipeline.scout if request.param == "scout" else pipeline.actors["text"]
    schedule = Schedule(steps=1, batch_size=4, warmup_steps=1)
    config = Compress(
        str(pipeline.actors["latent"]), str(pipeline.thoughts), output, sender=str(sender), schedule=schedule
    )
    list(compress(config))
    return f"{output}/model"


def test_every_latent_is_read_by_the_model_s_own_head(compressed, pipeline):
    config = ReadLatents(compressed, str(pipeline.thoughts), latent_steps=3, limit=5, batch_size=2)
    found, store = by_latent(config), LatentStore.open(pipeline.thoughts)
    engine, agent = Engine.load(compressed, dtype="float32"), interlat.load(compressed, dtype="float32")
    agent.bridge.projector = None
    assert sorted({item for item, _ in found}) == sorted(list(store.ids)[:5]) and len(found) == 15
    for (item, step), record in found.items():
        latent = agent.think(store.entry(item).task, steps=3).hidden_states[step - 1]
        p = engine.logits(latent).softmax(-1)
        best = p.topk(10)
        assert record["top"] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert record["entropy"] == pytest.approx(-(p * p.log()).sum().item(), abs=1e-3)
        assert len(record["tokens"]) == 10


def test_prompts_are_those_of_the_sender_s_training(compressed, pipeline, tmp_path):
    model = shutil.copytree(compressed, tmp_path / "model")
    template = model / "chat_template.jinja"
    template.write_text("{% if mood is defined %}{{ mood }} {% endif %}" + template.read_text())
    settings = AgentSettings.beside(model)
    dataclasses.replace(settings, template=TemplateOptions(arguments={"mood": "look look"})).save(model)
    found = by_latent(ReadLatents(str(model), str(pipeline.thoughts), latent_steps=1, limit=2))
    agent, store = interlat.load(model, dtype="float32"), LatentStore.open(pipeline.thoughts)
    agent.bridge.projector = None
    for (item, _), record in found.items():
        latent = agent.think(store.entry(item).task, steps=1).hidden_states[0]
        best = agent.engine.logits(latent).softmax(-1).topk(10)
        assert record["top"] == pytest.approx(best.values.tolist(), abs=1e-4)
    plain = by_latent(ReadLatents(compressed, str(pipeline.thoughts), latent_steps=1, limit=2))
    assert any(plain[key]["top"] != pytest.approx(record["top"], abs=1e-4) for key, record in found.items())


def test_untrained_steps_are_those_of_the_identity(compressed, pipeline):
    config = ReadLatents(compressed, str(pipeline.thoughts), latent_steps=2, limit=3, untrained=True)
    found, store = by_latent(config), LatentStore.open(pipeline.thoughts)
    plain = interlat.agents.agent.Agent(
        Engine.load(compressed, dtype="float32"), settings=AgentSettings(prompt_template="{text}")
    )
    for (item, step), record in found.items():
        latent = plain.think(store.entry(item).task, steps=2).hidden_states[step - 1]
        best = plain.engine.logits(latent).softmax(-1).topk(10)
        assert record["top"] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_counts_without_meaning_are_refused(pipeline):
    for changes in ({"latent_steps": 0}, {"limit": 0}, {"batch_size": 0}):
        with pytest.raises(InputError, match="at least 1"):
            ReadLatents("model", str(pipeline.thoughts), **changes)
