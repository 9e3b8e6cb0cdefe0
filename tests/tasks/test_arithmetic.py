import contextlib
import re

import pytest

from interlat.errors import InputError
from interlat.tasks.arithmetic import ArithmeticOptions, arithmetic_problems


def solved_by_reading(text):
    """The answer, from nothing but the sentences: an interpreter of the words."""
    counts = {}
    for sentence in re.findall(r"[^.?]+[.?]", text):
        sentence = sentence.strip()
        if match := re.fullmatch(r"(\w+) has (\d+) \w+\.", sentence):
            counts[match[1]] = int(match[2])
        elif match := re.fullmatch(r"(\w+) has (\d+) (more|fewer) \w+ than (\w+)\.", sentence):
            counts[match[1]] = counts[match[4]] + int(match[2]) * (1 if match[3] == "more" else -1)
        elif match := re.fullmatch(r"(\w+) has (\d+) times as many \w+ as (\w+)\.", sentence):
            counts[match[1]] = int(match[2]) * counts[match[3]]
        elif match := re.fullmatch(r"(\w+) has as many \w+ as (\w+) and (\w+) together\.", sentence):
            counts[match[1]] = counts[match[2]] + counts[match[3]]
        elif match := re.fullmatch(r"Then (\w+) (finds|loses) (\d+) \w+\.", sentence):
            counts[match[1]] += int(match[3]) * (1 if match[2] == "finds" else -1)
        elif match := re.fullmatch(r"How many \w+ does (\w+) have\?", sentence):
            return counts[match[1]]
        elif match := re.fullmatch(r"How many \w+ do (\w+) and (\w+) have together\?", sentence):
            return counts[match[1]] + counts[match[2]]
        else:
            raise AssertionError(f"not understood: {sentence}")
    raise AssertionError(f"no question: {text}")


@pytest.fixture(scope="module", params=["train", "test"])
def tasks(request):
    return arithmetic_problems(1500, request.param).tasks


def test_the_answer_is_what_the_words_say(tasks):
    for task in tasks:
        assert int(task.answer) == solved_by_reading(task.text) and 0 <= int(task.answer) <= 99


def test_solutions_are_true_and_end_with_the_answer(tasks):
    for task in tasks:
        solution = task.metadata["solution"]
        assert solution.endswith(f"Answer: {task.answer}")
        for left, sign, right, result in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", solution):
            assert {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign] == int(
                result
            )


def test_the_evidence_is_enough_and_no_statement_of_it_can_be_left_out(tasks):
    for task in tasks:
        question = task.text[task.text.rindex("How many") :]
        statements = re.findall(r"[^.]+\.", task.metadata["evidence"])[::-1]
        assert solved_by_reading(" ".join([*statements, question])) == int(task.answer)
        for place in range(len(statements)):
            fewer = " ".join([*statements[:place], *statements[place + 1 :], question])
            with contextlib.suppress(KeyError):  # somebody whose number was not told
                assert solved_by_reading(fewer) != int(task.answer)


def test_the_last_number_of_each_step_of_the_plan_is_in_the_solution(tasks):
    for task in tasks:
        *people, end = task.metadata["plan"].split()
        assert end == "Answer." and len(set(people)) == len(people)
        found = re.findall(r"([A-Z]\w+) ", task.metadata["solution"])
        assert list(dict.fromkeys(found)) == [who.rstrip(".") for who in people]


def test_problems_have_as_many_statements_as_they_say(tasks):
    counts = [task.text.count(".") for task in tasks]
    assert set(counts) == {3, 4, 5}
    assert [f"{count} statements" for count in counts] == [task.task_type for task in tasks]
    answers = [task.answer for task in tasks]
    assert not any(re.search(r"\b1 (more |fewer )?\w+s\b", task.text) for task in tasks)
    assert max(answers.count(answer) for answer in set(answers)) < len(answers) / 15


def test_train_and_test_have_nothing_in_common_for_any_seed():
    def texts(split):
        return {t.text for seed in (0, 1) for t in arithmetic_problems(800, split, ArithmeticOptions(seed=seed)).tasks}

    train, test = texts("train"), texts("test")
    assert len(train) > 1500 and len(test) > 1500 and not train & test


def test_the_same_problem_comes_whatever_the_number_asked_for():
    few, many = arithmetic_problems(5, "test"), arithmetic_problems(50, "test")
    assert many.tasks[:5] == few.tasks
    assert arithmetic_problems(5, "test", ArithmeticOptions(seed=1)).tasks[0].text != few.tasks[0].text


@pytest.mark.parametrize(
    "call",
    [
        lambda: arithmetic_problems(0, "test"),
        lambda: arithmetic_problems(3, "dev"),
        lambda: ArithmeticOptions(statements=(1, 3)),
        lambda: ArithmeticOptions(statements=(4, 3)),
        lambda: ArithmeticOptions(statements=(4, 11)),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_facts_can_be_split_off_for_the_sender():
    """The same problems under the same ids; the question alone has no number, and its answer is another each time."""
    whole = arithmetic_problems(300, "test")
    split = arithmetic_problems(300, "test", ArithmeticOptions(split_facts=True))
    answers = {}
    for one, two in zip(whole.tasks, split.tasks, strict=True):
        assert (one.id, one.answer, one.metadata, one.notes) == (two.id, two.answer, two.metadata, "")
        assert one.text == f"{two.notes} {two.text}" and two.told == f"{two.notes}\n\n{two.text}"
        assert not re.search(r"\d", two.text) and two.text.startswith("How many")
        assert int(two.answer) == solved_by_reading(two.told)
        answers.setdefault(two.text, set()).add(two.answer)
    assert max(map(len, answers.values())) > 2
    assert whole.origin == {"data": "generated, ArithmeticOptions(statements=(3, 5), seed=0)"}
    assert split.origin != whole.origin
