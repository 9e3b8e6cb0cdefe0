"""Questions of our own in the form of each benchmark's data set on the hub."""

from typing import Any

_GSM8K = [
    {"question": "Ann has 3 pens and buys 4. How many has she?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
    {"question": "A truck carries 2 loads of 625 kg. How much is that?", "answer": "2 * 625 = 1,250\n#### 1,250"},
]
_MATH = [
    {
        "problem": "What is $1/2 + 1/3$?",
        "level": "Level 1",
        "type": "Prealgebra",
        "solution": "It is $\\boxed{\\frac56}$.",
    },
    {"problem": "Who is taller?", "level": "Level 2", "type": "Algebra", "solution": "\\boxed{\\text{Evelyn}}"},
]
_MATH_500 = [
    {
        "problem": "What is $2^3$?",
        "solution": "$2^3 = \\boxed{8}$",
        "answer": "8",
        "subject": "Algebra",
        "level": 1,
        "unique_id": "test/algebra/1.json",
    },
    {
        "problem": "Solve $x^2 = 2$ for positive $x$.",
        "solution": "$\\boxed{\\sqrt{2}}$",
        "answer": "\\sqrt{2}",
        "subject": "Algebra",
        "level": 2,
        "unique_id": "test/algebra/2.json",
    },
]
_AIME = [
    {"id": 1, "problem": "Find 5 times 5.", "solution": "25", "answer": "025", "url": "", "year": "2024"},
    {"id": 2, "problem": "Find 9 times 9.", "solution": "81", "answer": "81", "url": "", "year": "2024"},
]
_GPQA = [
    {"question": "Which is a noble gas?\n\nA. neon\nB. iron\nC. gold\nD. salt", "answer": "A"},
    {"question": "Which one is odd?\n\n(A) 2\n(B) 4\n(C) 5\n(D) 8", "answer": "C"},
]
_ARC = [
    {
        "id": "a",
        "question": "What melts at 0 degrees?",
        "choices": {"text": ["ice", "iron", "gold", "rock"], "label": ["A", "B", "C", "D"]},
        "answerKey": "A",
    },
    {
        "id": "b",
        "question": "What is hot?",
        "choices": {"text": ["snow", "fire", "rain"], "label": ["1", "2", "3"]},
        "answerKey": "2",
    },
]
_WINOGRANDE = [
    {
        "sentence": "The cup does not fit the box since the _ is small.",
        "option1": "cup",
        "option2": "box",
        "answer": "2",
    },
    {"sentence": "Ann thanked Eva since _ had been helped.", "option1": "Ann", "option2": "Eva", "answer": "1"},
]
_MEDQA = [
    {
        "question": "Which vitamin is made in sunlight?",
        "answer": "D",
        "options": {"A": "A", "B": "C", "C": "D", "D": "K"},
        "meta_info": "step1",
        "answer_idx": "C",
    },
    {
        "question": "Which nerve is the tenth?",
        "answer": "X",
        "options": {"A": "XII", "B": "XI", "C": "IX", "D": "X"},
        "meta_info": "step1",
        "answer_idx": "D",
    },
]
_MBPP = [
    {
        "task_id": 2,
        "code": "def helper(n):\n    return n\n\ndef common(a, b):\n    return tuple(set(a) & set(b))",
        "prompt": "Write a function that finds what two tuples share.",
        "test_imports": [],
        "test_list": ["assert set(common((1, 2), (2, 3))) == {2}", "assert common((1,), (3,)) == ()"],
        "test": (
            "import numpy as np\n\ndef assertion(out, exp, atol):\n    assert out == exp, f'{out} is not {exp}'\n\n"
            "inputs = [[(1, 2), (2, 3)], [(1,), (3,)]]\nresults = [(2,), ()]\n"
            "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(common(*inp), exp, 0)\n"
        ),
    },
    {
        "task_id": 3,
        "code": "import math\ndef area(r):\n    return math.pi * r * r",
        "prompt": "Write a function for the area of a circle.",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(area(1), math.pi)"],
        "test": "assert math.isclose(area(2), 4 * math.pi)\n",
    },
]
_HUMANEVAL = [
    {
        "task_id": "HumanEval/0",
        "prompt": "def half(n):\n    return n // 2\n\n\ndef quarter(n):\n    '''A quarter.'''\n",
        "canonical_solution": "    return half(half(n))\n",
        "entry_point": "quarter",
        "test": "def check(candidate):\n    for n in range(9):\n        assert candidate(n) == half(n // 2)\n",
    },
    {
        "task_id": "HumanEval/1",
        "prompt": 'from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n    """Their sum."""\n',
        "canonical_solution": "    return sum(numbers)\n",
        "entry_point": "total",
        "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
    },
]

HUB_ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": _GSM8K,
    "math": _MATH,
    "math500": _MATH_500,
    "aime2024": _AIME,
    "aime2025": _AIME,
    "gpqa": _GPQA,
    "arc_easy": _ARC,
    "arc_challenge": _ARC,
    "winogrande": _WINOGRANDE,
    "medqa": _MEDQA,
    "mbppplus": _MBPP,
    "humaneval": _HUMANEVAL,
    "humanevalplus": _HUMANEVAL,
}
