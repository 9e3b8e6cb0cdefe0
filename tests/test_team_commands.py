import json
import subprocess
import sys
from pathlib import Path

import pytest

from interlat.cli import main

MEMBERS = """
  - {name: thinker, prompt: "{question}", speaks: latents, latent_steps: 2}
  - {name: last, prompt: "{question}", reads: [thinker], sampling: {max_new_tokens: 4}}
"""


@pytest.fixture
def config(tmp_path, build_model, make_tokenizer):
    build_model("qwen3", max_position_embeddings=512).save_pretrained(tmp_path / "model")
    make_tokenizer("chatml").save_pretrained(tmp_path / "model")
    path = tmp_path / "team.yaml"
    path.write_text(
        f"model: {tmp_path / 'model'}\noutput: {tmp_path / 'run'}\ntask: {{kind: arithmetic, count: 3}}\n"
        f"variants: [team, steps_0]\nthreads: 1\nmembers:{MEMBERS}"
    )
    return path


def test_a_team_of_a_file_answers_prints_and_goes_on(config, capsys):
    assert main(["team", "--config", str(config), "--json"]) == 0
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["variant"] for line in lines] == ["team"] * 3 + ["steps_0"] * 3
    assert list(lines[0]["agents"]) == ["thinker", "last"] and lines[0]["latent_steps"] == 2
    assert "team - steps_0" in shown.err and "answers in" in shown.err
    results = Path(config).parent / "run" / "results.jsonl"
    before = results.read_text()
    assert main(["team", "--config", str(config)]) == 0 and results.read_text() == before
    assert (results.parent / "config.yaml").is_file()


def test_what_does_not_fit_is_counted_and_the_exit_code_says_so(config, capsys):
    config.write_text(config.read_text().replace('"{question}", speaks', '"' + "{question} " * 40 + '", speaks'))
    assert main(["team", "--config", str(config)]) == 1
    assert "6 of 6 could not be answered" in capsys.readouterr().err


def test_bad_input_is_one_line(config, capsys):
    assert main(["team", "--config", str(config), "--variants", "text"]) == 2
    assert capsys.readouterr().err == (
        "error: variant 'text' is of the teams that come along; members is set, so take team\n"
    )
    config.write_text(config.read_text().replace("reads: [thinker]", "reads: [nobody]"))
    assert main(["team", "--config", str(config)]) == 2
    assert "last listens to nobody, which is no member before it" in capsys.readouterr().err


def test_teams_need_neither_vllm_nor_a_figure_library():
    """D4 of the released code, of which no part could be imported without vLLM."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['vllm', 'matplotlib', 'alfworld', 'peft']));"
        "import interlat.team_commands"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_lessons_are_written(tmp_path, capsys):
    path = tmp_path / "lessons.jsonl"
    assert main(["collect", "lessons", "--output", str(path), "--count", "4"]) == 0
    assert len(path.read_text().splitlines()) == 12 and "12 conversations in" in capsys.readouterr().err
    assert main(["collect", "lessons", "--output", str(path), "--wrong-plans", "2"]) == 2
    assert capsys.readouterr().err == "error: wrong_plans is 2.0; give 0 to 1\n"
