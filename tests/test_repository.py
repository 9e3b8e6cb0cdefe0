"""What holds for the whole repository: mirrored tests, no unpickling, pins, versions, the machine check."""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "interlat"
TESTS = ROOT / "tests"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))

SETTINGS = "settings, tested with what they set, in "
TESTED_ELSEWHERE: dict[str, str] = {
    # module: why there is no tests/<folder>/test_<module>.py
    "agents/conversations.py": "through Agent.converse against games played alone, in evaluation/test_run.py",
    "agents/loading.py": "the front door's load, in test_agent.py",
    "agents/sender.py": "through Agent.write and think in test_agent.py, and channels/test_channels.py",
    **{
        f"channels/{name}.py": "every channel against the agent's own methods, in test_channels.py"
        for name in ("cache", "hidden", "none", "protocol", "resampled", "text", "thought")
    },
    "evaluation/latency.py": "on the household's messages, in experiments/household/test_latency.py",
    "evaluation/sends.py": "with the run that it serves, in test_run.py",
    "evaluation/settings.py": "with the evaluation that they are of, in test_evaluate.py",
    "cli/models.py": "with what they fetch and list, in engine/test_fetch.py",
    "environments/alfworld/scene.py": "tested through games made of scenes, in experiments/household/test_author.py",
    "environments/alfworld/state.py": "bit-equality with the stock engine, in test_fast.py",
    "engine/options.py": SETTINGS + "test_sampling.py and test_template.py",
    "engine/prompt_text.py": "parts of a prompt, in test_prompt.py",
    "experiments/household/settings.py": SETTINGS + "test_evaluate.py and test_latency.py",
    "training/loss_weights.py": SETTINGS + "test_losses.py",
    "training/options.py": SETTINGS + "test_loop.py, test_branches.py and test_conversations.py",
    "training/settings.py": SETTINGS + "test_actor.py, test_compression.py and test_preference.py",
    "engine/transformers_model.py": "tests/engine/test_hf.py and test_recurrent.py run it with both of its engines",
    "engine/vllm.py": "tests/vllm runs it in the environment that has vLLM",
    "engine/vllm_rows.py": "tests/vllm runs it inside vLLM",
    "engine/backend.py": "both backends are tested through Engine on every architecture, in test_hf.py",
}
UNPICKLING = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"} | {
    "torch.load",
    "torch.save",
    "pandas.read_pickle",
}


def parsed(module: Path) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"), filename=str(module))


def has_behaviour(module: Path) -> bool:
    """Whether a function there does something; names, fields and abstract methods alone need no test."""
    for function in ast.walk(parsed(module)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                says_nothing = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if not says_nothing and not isinstance(statement, ast.Pass | ast.Raise):
                    return True
    return False


# Tests of a kind of fault across many modules, and of what is outside the package, each in a folder of its own.
KINDS = ("docs", "mutation", "sweep", "benchmarks", "examples", "recipes", "wrong_pairs", "real", "vllm", "ray")


def mirror(module: Path) -> Path:
    if module.name == "__init__.py":
        return TESTS / module.parent / f"test_{module.parent.name or 'init'}.py"
    return TESTS / module.parent / f"test_{module.name}"


def dotted_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normalized(requirement: str) -> str:
    """The package name of a requirement or pin, in the one spelling of the packaging standards."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, f"not a requirement: {requirement!r}"
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;@+]+", line) for line in pinned), "not name==version"
    return {normalized(line): line.partition("==")[2] for line in pinned}


def test_every_module_has_its_tests_at_the_same_path() -> None:
    missing = [
        str(module)
        for module in MODULES
        if has_behaviour(module) and not mirror(module).exists() and str(module) not in TESTED_ELSEWHERE
    ]
    assert not missing, f"no mirror test (write it, or give a reason in TESTED_ELSEWHERE): {missing}"


def test_exemptions_are_needed_and_reasoned() -> None:
    for name, reason in TESTED_ELSEWHERE.items():
        assert Path(name) in MODULES, f"{name} is exempt but does not exist"
        assert not mirror(Path(name)).exists(), f"{name} is exempt but has its test"
        assert len(reason.split()) > 2, f"{name} is exempt without a reason"


def test_every_test_file_belongs_to_a_module() -> None:
    mirrors = {mirror(module) for module in MODULES}
    strays = [
        str(path.relative_to(ROOT))
        for path in sorted(TESTS.rglob("test_*.py"))
        if path not in mirrors and path != Path(__file__).resolve() and path.parent.name not in KINDS
    ]
    assert not strays, f"tests of no module: {strays}"


def loads_weights_only(node: ast.AST) -> bool:
    """Whether this is ``torch.load(..., weights_only=True)``, which runs nothing that a file says."""
    return (
        isinstance(node, ast.Call)
        and dotted_name(node.func) == "torch.load"
        and any(
            word.arg == "weights_only" and isinstance(word.value, ast.Constant) and word.value.value is True
            for word in node.keywords
        )
    )


def unpicklers_in(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and name of whatever in a module could unpickle."""
    allowed = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and loads_weights_only(node)}
    return [
        (getattr(node, "lineno", 0), name)
        for node in ast.walk(tree)
        if id(node) not in allowed
        for name in sorted(names_used(node) & UNPICKLING)
    ]


def names_used(node: ast.AST) -> set[str]:
    """Dotted names that an import or an attribute access reaches for, with their packages."""
    if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = {f"{node.module}.{alias.name}" for alias in node.names}
    elif isinstance(node, ast.Attribute):
        return {dotted_name(node)}
    else:
        return set()
    return names | {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_can_unpickle(module: Path) -> None:
    found = unpicklers_in(parsed(module))
    assert not found, f"{module} uses {found}; tensors travel in safetensors files"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "from torch import load",
        "x = torch.load('a.pt')",
        "x = torch.load('a.pt', weights_only=False)",
        "x = torch.load('a.pt', weights_only=safe)",
        "load = torch.load",
        "x = torch.load(torch.load('a.pt'), weights_only=True)",
    ],
)
def test_the_search_for_unpickling_finds_it(line: str) -> None:
    assert unpicklers_in(ast.parse(line))


def test_loading_nothing_but_weights_is_allowed() -> None:
    assert not unpicklers_in(ast.parse("x = torch.load(path, map_location='cpu', weights_only=True)"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_trusts_remote_code_by_default(module: Path) -> None:
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            trusted = isinstance(node.value, ast.Constant) and node.value.value
            assert not trusted, f"{module}:{node.value.lineno} trusts remote code"


def test_constraints_pin_what_setup_installs() -> None:
    extras = project()["optional-dependencies"]
    worlds = [needed for name in ("alfworld", "scienceworld", "textcraft", "webshop") for needed in extras[name]]
    wanted = [*project()["dependencies"], *worlds, *extras["train"], *extras["dev"]]
    assert {normalized(requirement) for requirement in wanted} <= pins().keys()


def test_the_makefile_installs_the_pinned_torch() -> None:
    assert f'"torch=={pins()["torch"]}"' in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_version_is_the_same_everywhere() -> None:
    version = project()["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_local_links_of_the_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"


def check_machine(path: Path, python: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh")
    assert shell
    command = [shell, str(ROOT / "scripts" / "check_machine.sh"), python]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


def provide(folder: Path, name: str, output: str = "", code: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f"#!{shutil.which('sh')}\necho '{output}'\nexit {code}\n", encoding="utf-8")
    script.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="make setup needs a POSIX shell")
class TestCheckMachine:
    def test_a_complete_machine_passes_in_silence(self, tmp_path: Path) -> None:
        for name in ("python3", "c++", "cmake"):
            provide(tmp_path, name)
        result = check_machine(tmp_path, "python3")
        assert (result.returncode, result.stderr) == (0, "")

    def test_an_empty_machine_is_told_all_that_is_missing(self, tmp_path: Path) -> None:
        result = check_machine(tmp_path, "python3")
        assert result.returncode == 2
        assert result.stderr.count("error:") == 3
        for line in ("apt-get install -y python3", "dnf install -y gcc-c++", "brew install cmake"):
            assert line in result.stderr

    def test_an_old_python_is_named(self, tmp_path: Path) -> None:
        for name in ("g++", "cmake"):
            provide(tmp_path, name)
        provide(tmp_path, "python3", output="3.9.2", code=1)
        result = check_machine(tmp_path, "python3")
        assert result.returncode == 2
        assert "3.9.2" in result.stderr
        assert "make setup PYTHON=python3.11" in result.stderr
