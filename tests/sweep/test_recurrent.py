"""For every type that the reference engine refuses: the engine recurrent runs it right, or refuses it in a line."""

import pytest

from interlat.engine.recurrent import RecurrentEngine
from interlat.errors import CheckpointError
from model_fixtures import CHATML, SPECIALS, tiny_tokenizer
from recurrent_checks import check_engine
from sweep.tiny_models import NOT_BUILT, REFUSED, REFUSED_TOO, tiny_model

pytestmark = pytest.mark.sweep


@pytest.mark.parametrize("model_type", sorted({n for names in REFUSED.values() for n in names} - set(NOT_BUILT)))
def test_it_runs_right_or_is_refused(model_type, tmp_path):
    tokenizer = tiny_tokenizer(SPECIALS, 320, chat_template=CHATML, eos_token="<|im_end|>")
    reasons = [reason for reason, names in REFUSED_TOO.items() if model_type in names]
    try:
        engine = RecurrentEngine.wrap(tiny_model(model_type), tokenizer, model_type)
    except CheckpointError as error:
        assert reasons and reasons[0] in str(error) and "\n" not in str(error), str(error)
        pytest.skip(f"refused: {error}")
    assert not reasons, f"{model_type} is no longer refused; take it out of REFUSED_TOO"
    check_engine(engine, tmp_path)
