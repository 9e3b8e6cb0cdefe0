"""The adapter against a slow float64 rewrite, its batching law, its number format and its files."""

import copy
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.base import Connector
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.messages import Header, HiddenMessage, Message, TextMessage

CONFIG = AdapterConfig(source_size=12, target_size=16, heads=4)


def make_adapter(config: AdapterConfig = CONFIG, seed: int = 0) -> CommunicationAdapter:
    """An adapter in eval mode with no parameter at a special value."""
    torch.manual_seed(seed)
    adapter = CommunicationAdapter(config).eval()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return adapter


def layer_norm(row: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    centred = row - row.sum() / len(row)
    return centred / ((centred * centred).sum() / len(row) + epsilon).sqrt() * weight + bias


def slow_adapter(adapter: CommunicationAdapter, message: Tensor) -> Tensor:
    """The formula of the docstring for one unpadded message ``[K, D_source]``, row by row, in float64."""
    p = {name: value.double() for name, value in adapter.state_dict().items()}
    size, heads = adapter.target_size, adapter.config.heads
    width = size // heads
    rows = []
    for index, row in enumerate(message.double()):
        if "input_projector.weight" in p:
            row = p["input_projector.weight"] @ row + p["input_projector.bias"]
        row = layer_norm(row, p["input_norm.weight"], p["input_norm.bias"], 1e-6)
        if adapter.config.positions == "sinusoidal":
            for place in range(size):
                angle = index / 10_000 ** ((place - place % 2) / size)
                row[place] = row[place] + (math.cos(angle) if place % 2 else math.sin(angle))
        rows.append(row)
    weight, bias = p["attention.queries_keys_values.weight"], p["attention.queries_keys_values.bias"]
    parts = [(weight @ row + bias).split(size) for row in rows]
    result = []
    for row, (query, _, _) in zip(rows, parts, strict=True):
        mixed = []
        for head in range(heads):
            span = slice(head * width, (head + 1) * width)
            scores = torch.stack([query[span] @ key[span] / math.sqrt(width) for _, key, _ in parts])
            shares = scores.exp() / scores.exp().sum()
            mixed.append(sum(share * value[span] for share, (_, _, value) in zip(shares, parts, strict=True)))
        attended = p["attention.output.weight"] @ torch.cat(mixed) + p["attention.output.bias"]
        row = layer_norm(row + attended, p["attention_norm.weight"], p["attention_norm.bias"], 1e-6)
        scaled = p["projection.input_scale"] * row
        inner = p["projection.expand.weight"] @ scaled + p["projection.expand.bias"]
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        inner = layer_norm(inner, p["projection.norm.weight"], p["projection.norm.bias"], 1e-5)
        inner = p["projection.contract.weight"] @ inner + p["projection.contract.bias"]
        result.append(p["projection.output_scale"] * (scaled + inner))
    return torch.stack(result)


@pytest.mark.parametrize("source_size", [12, 16])
@pytest.mark.parametrize("positions", ["none", "sinusoidal"])
@pytest.mark.parametrize("rows", [1, 6])
def test_it_computes_its_formula(source_size: int, positions: str, rows: int) -> None:
    adapter = make_adapter(dataclasses.replace(CONFIG, source_size=source_size, positions=positions))
    message = torch.randn(rows, source_size)
    torch.testing.assert_close(adapter(message[None])[0].double(), slow_adapter(adapter, message), rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    left=st.booleans(),
    extra=st.integers(0, 3),
    positions=st.sampled_from(["none", "sinusoidal"]),
    seed=st.integers(0, 1000),
)
def test_a_message_does_not_depend_on_its_neighbours(
    lengths: list[int], left: bool, extra: int, positions: str, seed: int
) -> None:
    adapter = make_adapter(dataclasses.replace(CONFIG, positions=positions))
    generator = torch.Generator().manual_seed(seed)
    messages = [torch.randn(length, 12, generator=generator) for length in lengths]
    width = max(lengths) + extra
    batch = torch.full((len(lengths), width, 12), float("nan"))
    mask = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, message in enumerate(messages):
        span = slice(width - len(message), width) if left else slice(0, len(message))
        batch[row, span], mask[row, span] = message, True
    together = adapter(batch, mask)
    assert torch.equal(together[~mask], torch.zeros_like(together[~mask]))
    for row, message in enumerate(messages):
        torch.testing.assert_close(together[row, mask[row]], adapter(message[None])[0], rtol=1e-5, atol=1e-6)


def test_without_positions_the_rows_may_be_permuted_and_with_them_not() -> None:
    message, order = torch.randn(1, 5, 12), torch.tensor([3, 1, 4, 0, 2])
    plain = make_adapter()
    torch.testing.assert_close(plain(message[:, order]), plain(message)[:, order])
    ordered = make_adapter(dataclasses.replace(CONFIG, positions="sinusoidal"))
    assert not torch.allclose(ordered(message[:, order]), ordered(message)[:, order], atol=1e-3)


def test_an_empty_message_gives_no_rows() -> None:
    assert make_adapter()(torch.empty(3, 0, 12)).shape == (3, 0, 16)


def test_every_parameter_gets_a_gradient_and_padding_gives_none_that_is_not_finite() -> None:
    adapter = make_adapter().train()
    message = torch.randn(2, 4, 12, requires_grad=True)
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    adapter(message, mask).square().sum().backward()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert message.grad is not None and message.grad.isfinite().all()
    assert torch.equal(message.grad[~mask], torch.zeros(5, 12))


def test_it_stays_float32_under_casts_and_autocast() -> None:
    adapter = make_adapter()
    message = torch.randn(2, 3, 12)
    expected = adapter(message)
    torch.nn.ModuleDict({"adapter": adapter}).to(torch.bfloat16).half().double()
    assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(adapter(message), expected)
    assert torch.equal(adapter(message, dtype=torch.bfloat16), expected.bfloat16())
    assert adapter(message.bfloat16()).dtype == torch.float32


def test_dropout_is_live_in_training_only() -> None:
    adapter = make_adapter(dataclasses.replace(CONFIG, dropout=0.5))
    message = torch.randn(1, 8, 12)
    assert torch.equal(adapter(message), adapter(message))
    adapter.train()
    assert not torch.equal(adapter(message), adapter(message))


def test_the_published_start_writes_rows_of_rms_near_two_hundredths() -> None:
    torch.manual_seed(0)
    output = CommunicationAdapter(AdapterConfig(64, 64)).eval()(5 * torch.randn(2, 9, 64))
    assert output.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.05)


def test_parameters_are_as_many_as_published() -> None:
    count = sum(parameter.numel() for parameter in CommunicationAdapter(AdapterConfig(64, 64)).parameters())
    assert count == 6 * 64**2 + 12 * 64 + 2


def test_calibration_gives_the_size_of_embeddings_over_real_rows() -> None:
    adapter = make_adapter().train()
    message = torch.randn(3, 5, 12)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [False] * 5])
    scale = adapter.calibrate(0.7, message, mask)
    assert adapter.training and scale == adapter.projection.output_scale.item()
    assert adapter.eval()(message, mask)[mask].square().mean().sqrt().item() == pytest.approx(0.7, rel=1e-4)


@pytest.mark.parametrize(("rms", "rows"), [(0.0, 3), (float("nan"), 3), (0.5, 0)])
def test_calibration_refuses_what_has_no_size(rms: float, rows: int) -> None:
    with pytest.raises(InputError, match="expected a positive number"):
        make_adapter().calibrate(rms, torch.randn(1, rows, 12))


@pytest.mark.parametrize("shape", [(2, 3, 16), (3, 12), (1, 2, 3, 12)])
def test_rows_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected \[messages, rows, 12\]"):
        make_adapter()(torch.zeros(shape))


def test_alignment_is_the_ridge_regression_of_the_targets() -> None:
    """Against the same regression as an ordinary least-squares problem on extended data, solved by numpy's SVD."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 12, generator=generator) + 3.0
    targets = rows @ torch.randn(12, 16, generator=generator) + 0.5 * torch.randn(60, 16, generator=generator) - 1.0
    adapter, ridge = CommunicationAdapter(CONFIG), 0.05
    explained = adapter.align(rows, targets, ridge)
    # The penalty is twelve more rows with target 0; the last column is the offset, which is not penalised.
    weights = np.sqrt(ridge * len(rows)) * np.eye(12)
    inputs = np.block([[rows.double().numpy(), np.ones((60, 1))], [weights, np.zeros((12, 1))]])
    outputs = np.vstack([targets.double().numpy(), np.zeros((12, 16))])
    solution = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    assert adapter.input_projector is not None
    np.testing.assert_allclose(adapter.input_projector.weight.detach().numpy(), solution[:-1].T, atol=1e-5)
    np.testing.assert_allclose(adapter.input_projector.bias.detach().numpy(), solution[-1], atol=1e-5)
    residual = targets - adapter.input_projector(rows)
    variance = (targets - targets.mean(dim=0)).square().sum()
    assert explained == pytest.approx(1 - (residual.square().sum() / variance).item(), abs=1e-5)
    assert 0.5 < explained < 1


def test_an_aligned_adapter_begins_near_its_targets() -> None:
    """Where a linear map fits exactly, the output points along the targets, row for row."""
    torch.manual_seed(1)
    adapter = CommunicationAdapter(AdapterConfig(source_size=16, target_size=16, heads=4, project_input=True)).eval()
    rows = torch.randn(200, 16)
    targets = rows @ torch.linalg.qr(torch.randn(16, 16))[0]
    targets -= targets.mean(dim=-1, keepdim=True)
    assert adapter.align(rows, targets, ridge=1e-9) == pytest.approx(1.0, abs=1e-4)
    adapter.calibrate(0.1, rows[None])
    assert torch.cosine_similarity(adapter(rows[None])[0], targets, dim=-1).min() > 0.95


def test_the_largest_move_is_that_of_a_step_with_all_signs_of_one_kind() -> None:
    torch.manual_seed(2)
    adapter = CommunicationAdapter(AdapterConfig(source_size=16, target_size=8, heads=4, project_input=True))
    rows, rate = torch.randn(50, 16), 3e-3
    projector = adapter.input_projector
    assert projector is not None
    before = projector(rows)
    moves = []
    for row in rows:
        moved = copy.deepcopy(projector)
        # A gradient of any size: Adam's first step is the sign of it, times the rate.
        moved.weight.grad = -5.0 * row.expand(8, 16)
        torch.optim.Adam([moved.weight], lr=rate).step()
        moves.append((moved(row) - projector(row)).abs().mean())
    expected = torch.stack(moves).mean() / before.square().mean().sqrt()
    assert adapter.largest_move(rows, rate) == pytest.approx(expected.item(), rel=1e-3)
    with pytest.raises(InputError, match="project_input"):
        CommunicationAdapter(AdapterConfig(source_size=16, target_size=16)).largest_move(rows, rate)


def test_alignment_refuses_what_it_cannot_fit() -> None:
    with pytest.raises(InputError, match="project_input"):
        CommunicationAdapter(AdapterConfig(source_size=16, target_size=16)).align(
            torch.ones(20, 16), torch.ones(20, 16)
        )
    with pytest.raises(InputError, match="more messages"):
        CommunicationAdapter(CONFIG).align(torch.ones(12, 12), torch.ones(12, 16))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="one flag a row"):
        make_adapter()(torch.zeros(1, 3, 12), torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize(
    "change",
    [
        {"heads": 3},
        {"heads": 0},
        {"source_size": 0},
        {"dropout": 1.0},
        {"positions": "rotary"},
        {"norm": "none"},
        {"state_at": "late"},
        {"max_rows": 0},
    ],
)
def test_a_configuration_without_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"adapter {next(iter(change))} is"):
        dataclasses.replace(CONFIG, **change)


def test_it_is_an_align_method() -> None:
    assert isinstance(make_adapter(), Connector)


HEADER = Header(model="tiny", weights_fingerprint="ab" * 32, tokenizer_fingerprint="cd" * 32)
READER = AdapterConfig(
    source_size=4,
    target_size=16,
    sender="scout",
    sender_fingerprints=("ef" * 16, "ab" * 32),
    sender_tokenizer_fingerprint="cd" * 32,
    max_rows=3,
)


def hidden(rows: int = 3, size: int = 4, header: Header = HEADER) -> HiddenMessage:
    return HiddenMessage(torch.zeros(rows, size), header=header)


def test_a_fitting_message_passes() -> None:
    READER.check(hidden().header)
    AdapterConfig(4, 16).check(HiddenMessage(torch.zeros(90, 4)).header)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (TextMessage("go", HEADER), "it is a text message"),
        (hidden(size=5), r"its latents have shape \[3, 5\] \(expected size 4\)"),
        (hidden(rows=4), "4 latents"),
        (
            hidden(header=dataclasses.replace(HEADER, model="x", weights_fingerprint="ef" * 32)),
            r"made by x \[efef",
        ),
        (hidden(header=dataclasses.replace(HEADER, weights_fingerprint="")), r"made by tiny \[unknown\]"),
        (hidden(header=dataclasses.replace(HEADER, tokenizer_fingerprint="ef")), "another tokenizer"),
        (hidden(header=dataclasses.replace(HEADER, layer=7)), r"its layer is 7 \(expected -1\)"),
        (hidden(header=dataclasses.replace(HEADER, norm="pre")), r"its norm is pre \(expected post\)"),
        (hidden(header=dataclasses.replace(HEADER, state_at="after_token")), "its state_at is after_token"),
    ],
)
def test_what_does_not_fit_is_named(message: Message, reason: str) -> None:
    with pytest.raises(MessageError, match=reason) as caught:
        READER.check(message.header)
    assert "\n" not in str(caught.value)


def test_everything_that_does_not_fit_is_named_at_once() -> None:
    header = dataclasses.replace(HEADER, norm="pre", layer=3)
    with pytest.raises(MessageError, match=r"layer is 3 .*, its norm is pre"):
        READER.check(hidden(header=header).header)


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, sender_fingerprints=("a", "b"), positions="sinusoidal", max_rows=9)
    adapter = make_adapter(config)
    assert adapter.train().save(tmp_path / "run") == tmp_path / "run" / CommunicationAdapter.FILE
    loaded = CommunicationAdapter.load(tmp_path / "run")
    assert loaded.config == config and not loaded.training
    message = torch.randn(2, 4, 12)
    assert torch.equal(loaded(message), adapter.eval()(message))
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert [path.name for path in (tmp_path / "run").iterdir()] == [CommunicationAdapter.FILE]


def test_a_directory_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a checkpoint without an adapter"):
        CommunicationAdapter.load(tmp_path)


def test_a_truncated_adapter_is_refused(tmp_path: Path) -> None:
    path = make_adapter().save(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="is damaged"):
        CommunicationAdapter.load(tmp_path)


def description(**changes: object) -> dict[str, str]:
    content = {
        "format": "interlat-adapter",
        "format_version": 1,
        "config": dataclasses.asdict(CONFIG),
    } | changes
    return {"interlat": json.dumps(content)}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "not an adapter of interlat"),
        ({"interlat": "no json"}, "not an adapter of interlat"),
        ({"interlat": "[]"}, "not an adapter of interlat"),
        (description(format_version=9), "version 9, expected"),
        (description(config={"source_size": 12, "target_size": 16, "wings": 2}), "unusable configuration"),
        (description(config={"source_size": 12, "target_size": 16, "heads": 5}), "unusable configuration"),
        (description(config={"source_size": 14, "target_size": 16, "heads": 4}), "does not fit its own"),
    ],
)
def test_an_adapter_with_a_wrong_description_is_refused(tmp_path: Path, metadata: dict[str, str], reason: str) -> None:
    save_file(make_adapter().state_dict(), tmp_path / CommunicationAdapter.FILE, metadata)
    with pytest.raises(CheckpointError, match=reason):
        CommunicationAdapter.load(tmp_path)


def test_an_adapter_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = make_adapter().save(tmp_path)
    tensors = load_file(path)
    tensors["input_norm.bias"][3] = float("nan")
    save_file(tensors, path, description())
    with pytest.raises(CheckpointError, match=r"input_norm\.bias .* not finite"):
        CommunicationAdapter.load(tmp_path)
