import subprocess
import sys

import pytest

import interlat


def test_every_name_of_the_front_door_is_there():
    for name in interlat.__all__:
        assert getattr(interlat, name) is not None
    assert set(interlat.__all__) <= set(dir(interlat))
    with pytest.raises(AttributeError, match="telepathy"):
        interlat.telepathy  # noqa: B018


def test_importing_the_package_is_light():
    code = "import sys, interlat; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
