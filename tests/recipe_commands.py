"""The commands of a README, for tests that run them."""

import re
import shlex


def commands_in(text):
    """The words of every command in the blocks of a README or in the lines of a log, without what launches it."""
    lines = [line for block in re.findall(r"```\n(.+?)```", text, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(re.sub(r"^(torchrun .*-m interlat\.cli|interlat) ", "", line)) for line in lines if line]
