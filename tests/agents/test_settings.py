import re
from pathlib import Path

import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from interlat.agents.settings import AgentSettings
from interlat.engine.sampling import Sampling
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError


def test_a_template_wraps_the_text() -> None:
    def rendered(settings: AgentSettings, text: str, default_template: str = "{text}") -> str:
        return "".join(part.text for part in settings.content(text, default_template))

    assert rendered(AgentSettings(), "{go}") == "{go}"
    assert rendered(AgentSettings(), "go", "<{text}>") == "<go>"
    assert rendered(AgentSettings(prompt_template="{text}, {text}!"), "go", "<{text}>") == "go, go!"


def test_settings_survive_the_disk(tmp_path: Path) -> None:
    settings = AgentSettings(role="größer", prompt_template="{text}?", sampling=Sampling(temperature=0.5, top_k=3))
    settings.save(tmp_path)
    assert AgentSettings.read(tmp_path / "agent.json") == settings
    (tmp_path / "agent.json").write_text('{"role": "scout"}')
    assert AgentSettings.read(tmp_path / "agent.json") == AgentSettings(role="scout")


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[1]",
        '{"wings": 2}',
        '{"prompt_template": "no place"}',
        '{"message_kind": "smell"}',
        '{"sampling": {"top_p": 7}}',
        '{"sampling": {"heat": 1}}',
        '{"sampling": {"temperature": NaN}}',
        '{"sampling": {"temperature": Infinity}}',
        '{"sampling": {"max_new_tokens": 2.5}}',
        '{"sampling": {"max_new_tokens": true}}',
        '{"sampling": {"top_p": NaN}}',
        '{"sampling": null}',
        '{"connector": 5}',
        '{"connector": null}',
        '{"connector": "\\ud800"}',
        '{"system_prompt": [1]}',
        '{"prompt_template": ["{text}"]}',
        '{"role": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"template": 5}',
        '{"template": {"date": "soon"}}',
        '{"template": {"enable_thinking": "maybe"}}',
        '{"template": {"wings": 2}}',
        '{"template": {"arguments": [1]}}',
    ],
)
def test_settings_without_sense_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "agent.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"agent\.json is not usable"):
        AgentSettings.read(tmp_path / "agent.json")


def test_template_arguments_survive_the_disk_and_are_left_out_where_there_are_none(tmp_path: Path) -> None:
    settings = AgentSettings(template=TemplateOptions(False, "2026-11-28", {"thinking": "true"}))
    settings.save(tmp_path)
    assert AgentSettings.beside(tmp_path) == AgentSettings.read(tmp_path / "agent.json") == settings
    AgentSettings().save(tmp_path)
    assert '"template"' not in (tmp_path / "agent.json").read_text()
    (tmp_path / "agent.json").unlink()
    assert AgentSettings.beside(tmp_path).template == TemplateOptions()


@pytest.mark.parametrize("place", ["/none/none", "a/b/c", "not here"])
def test_the_settings_of_a_path_at_which_nothing_is_are_refused(place):
    with pytest.raises(CheckpointError, match=re.escape(f"there is no folder {place};")):
        AgentSettings.beside(place)


def test_a_repository_that_is_not_there_has_no_settings(monkeypatch):
    """The loader says what is wrong with it."""

    class Missing(RepositoryNotFoundError):
        def __init__(self) -> None:
            Exception.__init__(self, "404")

    def missing(*_: object, **__: object) -> str:
        raise Missing

    monkeypatch.setattr("interlat.engine.checkpoint.hf_hub_download", missing)
    assert AgentSettings.beside("owner/name") == AgentSettings()
