import pytest

from interlat.engine.hf import Engine
from interlat.errors import CheckpointError
from model_fixtures import CHATML, SPECIALS, tiny_tokenizer
from sweep.tiny_models import NOT_BUILT, REFUSED, model_types, tiny_model


@pytest.fixture(scope="package", params=[name for name in model_types() if name not in NOT_BUILT])
def engine(request):
    """An engine of every type. A type that is refused at load has passed where `REFUSED` says so."""
    tokenizer = tiny_tokenizer(SPECIALS, 320, chat_template=CHATML, eos_token="<|im_end|>")
    reasons = [reason for reason, names in REFUSED.items() if request.param in names]
    try:
        engine = Engine.wrap(tiny_model(request.param), tokenizer, request.param)
    except CheckpointError as error:
        assert reasons and reasons[0] in str(error) and "\n" not in str(error), str(error)
        pytest.skip(f"refused: {error}")
    assert not reasons, f"{request.param} is no longer refused; take it out of REFUSED"
    return engine
