import pytest
import torch

from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.hf import Engine
from interlat.errors import InputError
from interlat.training.adapters import begin_adapter, new_adapter
from interlat.training.messages import StoredMessages


def test_with_its_sender_the_adapter_begins_as_the_words_it_expected(pipeline):
    """Where the sender is sure of a word, the row that the receiver gets points to the embedding of that word."""
    thoughts = StoredMessages([str(pipeline.thoughts)])
    receiver = Engine.load(str(pipeline.actors["text"]), dtype="float32")
    items = thoughts.stores[0].ids
    adapter = new_adapter(thoughts.manifest, receiver.model.config.hidden_size, 2, 0.1, aligned=True, seed=0).eval()
    tokenizer = load_tokenizer(str(pipeline.actors["text"]))
    begin_adapter(adapter, thoughts, items, receiver.model, tokenizer, str(pipeline.scout))
    rows = torch.cat([thoughts.states(item).float() for item in items])
    head = Engine.load(str(pipeline.scout), dtype="float32").model.get_output_embeddings()
    expected = head(rows).softmax(dim=-1).detach() @ receiver.model.get_input_embeddings().weight.detach()
    with torch.no_grad():
        begun = adapter(rows[None])[0]
    assert torch.cosine_similarity(begun, expected - expected.mean(dim=-1, keepdim=True), dim=-1).mean() > 0.8
    with pytest.raises(InputError, match="did not make these thoughts"):
        begin_adapter(adapter, thoughts, items, receiver.model, tokenizer, str(pipeline.actors["none"]))
