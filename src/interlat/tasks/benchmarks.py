"""All benchmarks, by name."""

from collections.abc import Mapping

from interlat.errors import InputError
from interlat.tasks.aime import AIME_2024, AIME_2025
from interlat.tasks.arc import ARC_CHALLENGE, ARC_EASY
from interlat.tasks.benchmark import Benchmark
from interlat.tasks.gpqa import GPQA
from interlat.tasks.gsm8k import GSM8K
from interlat.tasks.hendrycks_math import MATH
from interlat.tasks.humaneval import HUMANEVAL, HUMANEVAL_PLUS
from interlat.tasks.math_500 import MATH_500
from interlat.tasks.mbpp import MBPP_PLUS
from interlat.tasks.medqa import MEDQA
from interlat.tasks.winogrande import WINOGRANDE

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        GSM8K,
        MATH,
        MATH_500,
        AIME_2024,
        AIME_2025,
        GPQA,
        ARC_EASY,
        ARC_CHALLENGE,
        WINOGRANDE,
        MEDQA,
        MBPP_PLUS,
        HUMANEVAL,
        HUMANEVAL_PLUS,
    )
}


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of that name, however it is spelled: ``arc-easy``, ``HumanEval+``.

    Raises:
        InputError: there is none.
    """
    for known, benchmark in BENCHMARKS.items():
        if _folded(name) == _folded(known):
            return benchmark
    raise InputError(f"there is no benchmark {name!r}; take one of {', '.join(BENCHMARKS)}")


def _folded(name: str) -> str:
    return "".join(character for character in name.casefold().replace("+", "plus") if character.isalnum())
