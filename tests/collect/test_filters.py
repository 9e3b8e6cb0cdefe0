import pytest

from interlat.collect.filters import Filters
from interlat.errors import InputError
from interlat.tasks.graders.verdict import Verdict


@pytest.mark.parametrize(
    "filters, tokens, stopped, verdict, reason",
    [
        (Filters(), 3, False, None, ""),
        (Filters(finished=True), 3, False, None, "not finished"),
        (Filters(finished=True), 3, True, None, ""),
        (Filters(min_tokens=4), 3, True, None, "too short: 3"),
        (Filters(min_tokens=3), 3, True, None, ""),
        (Filters(max_tokens=2), 3, True, None, "too long: 3"),
        (Filters(max_tokens=3), 3, True, None, ""),
        (Filters(correct=True), 3, True, Verdict(False, "numeric"), "wrong answer"),
        (Filters(correct=True), 3, True, Verdict(True, "exact"), ""),
        (Filters(), 3, True, Verdict(False, "unparsed"), ""),
    ],
)
def test_what_is_left_out_has_a_reason(filters, tokens, stopped, verdict, reason):
    found = filters.reason_against(tokens, stopped, verdict)
    assert found.startswith(reason) and bool(found) == bool(reason)


@pytest.mark.parametrize("values", [{"min_tokens": -1}, {"max_tokens": 0}, {"min_tokens": 5, "max_tokens": 4}])
def test_lengths_that_leave_nothing_are_refused(values):
    with pytest.raises(InputError, match="leave nothing"):
        Filters(**values)
