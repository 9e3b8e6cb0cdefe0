import subprocess
import sys

import pytest

from interlat.connectors.registry import CONNECTORS, parse_connector
from interlat.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("identity", ("identity", {})),
        ("vocabulary:temperature=0.7", ("vocabulary", {"temperature": "0.7"})),
        ("topk:k=10,temperature=2", ("topk", {"k": "10", "temperature": "2"})),
        ("bridge:folder=a:b=c", ("bridge", {"folder": "a:b=c"})),
    ],
)
def test_a_line_names_a_connector_and_its_options(text, expected):
    assert parse_connector(text) == expected


@pytest.mark.parametrize("text", ["", "telepathy", "topk:k", "topk:=3", "topk:k=", "topk:k=1,k=2"])
def test_lines_without_sense_are_refused(text):
    with pytest.raises(InputError, match="connector is"):
        parse_connector(text)


def test_a_name_that_is_nearly_right_is_told():
    with pytest.raises(InputError, match="did you mean 'vocabulary'"):
        parse_connector("vocabulari")


def test_names_need_no_torch():
    code = "import sys, interlat.connectors.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert {"identity", "ridge", "vocabulary", "topk"} <= set(CONNECTORS.names())
