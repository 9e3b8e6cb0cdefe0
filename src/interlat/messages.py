"""Messages between two agents: text, hidden states or a KV cache, each with a checked header.

On disk and on the wire a message is one safetensors file. The tensors are its body, and the metadata holds its header
as JSON. The header contains a digest of the body, and a second digest covers the header, so every altered byte is
noticed. Nothing is ever unpickled.
"""

import abc
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from interlat.errors import MessageError
from interlat.files import sha256_of, write_atomically
from interlat.states import Norm, StateAt, in_files, of_files
from interlat.typed import typed

Kind = Literal["text", "hidden", "cache"]

FORMAT = "interlat-message"
FORMAT_VERSION = 1
METADATA_KEY = "interlat"
LENGTH_BYTES = 8
LARGEST = 2**31 - 1
"""Largest token id and position."""
LAYERS = ("keys", "values")
CACHE_TENSORS = ("attention_mask", "position_ids", "segment_ids", "next_position", "hidden_states")
EMBEDDINGS_LAYER = 0
"""Layer in the header of a message whose latents are input embeddings, the input of the first layer."""
MAKE_AGAIN = "make or copy the message again"
FLOATING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Dtypes of hidden states, of keys and values that are not int8, and of scales. float8 lacks the arithmetic to check
or use it."""
DEEPEST = 64
"""Largest nesting depth of a message's provenance. Anything deeper might be readable in one place and not writable in
another."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Where a message comes from, and how to read its body.

    The message itself fills in ``kind``, ``dtype``, ``shape`` and ``format_version`` from its body.
    """

    model: str = ""
    """Name (path or hub id) of the model that produced the message."""
    revision: str = ""
    """Revision of that model, if known."""
    weights_fingerprint: str = ""
    """Fingerprint of the producing model's weights."""
    tokenizer_fingerprint: str = ""
    """Fingerprint of its tokenizer."""
    space_fingerprint: str = ""
    """Fingerprint of the weights whose hidden states the latents imitate, if that is not the producing model: a
    compressed sender is trained to be read like another sender. Empty means the producing model itself."""
    layer: int = -1
    """Layer of the hidden states: -1 is the last layer, 0 the input embeddings. Not used for text."""
    norm: Norm = "post"
    """Whether the states were taken after ("post") or before ("pre") the final norm. Not used for text."""
    state_at: StateAt = "before_token"
    """Latent t is the state that predicted token t ("before_token"), or the state that had just read it
    ("after_token")."""
    positions: tuple[int, ...] = ()
    """Position of each latent in the sender's sequence. Empty if unknown or meaningless."""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further information (task, seed, sampling) as JSON values."""
    kind: Kind = "hidden"
    """Kind of the body."""
    dtype: str = ""
    """Dtype of the main body tensor, as in ``torch.<dtype>``."""
    shape: tuple[int, ...] = ()
    """Shape of the body: text [bytes], hidden [T, D], cache [L, B, H, T, d]. If keys and values, or layers, differ in
    shape: [L, B, T, H, d, H', d', H, d, ...], with heads and size of the keys and of the values of each layer."""
    rules: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of a cache: the fields of the model's configuration, flat, that decide together with the weights what keys and
    values mean. Empty if unknown, and then not written."""
    sha256: str = ""
    """Digest of the body. Set in files and in messages read from files, empty in a message made in memory."""
    format_version: int = FORMAT_VERSION
    """Version of the file format."""


HEADER_FIELDS = {field.name for field in dataclasses.fields(Header)}


class Message(abc.ABC):
    """Base class of the three kinds of message."""

    kind: ClassVar[Kind]
    header: Header

    @property
    @abc.abstractmethod
    def byte_size(self) -> int:
        """Bytes that the receiver gets."""

    @property
    @abc.abstractmethod
    def latents(self) -> int:
        """Number of latents in the body, or of positions of a cache, including padding. 0 for text."""

    @abc.abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the body by name, as in the file."""

    def to_bytes(self) -> bytes:
        """The message as the bytes of a safetensors file."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors().items()}
        # Layers may share their keys and values, and safetensors refuses two names of one memory.
        first = {tensor.data_ptr(): name for name, tensor in reversed(tensors.items())}
        tensors = {name: t if first[t.data_ptr()] == name else t.clone() for name, t in tensors.items()}
        header = in_files(dataclasses.asdict(dataclasses.replace(self.header, sha256=_digest(tensors))))
        if not header["rules"]:
            del header["rules"]
        envelope = {
            "format": FORMAT,
            "header": header,
            "header_sha256": sha256_of(_canonical(header).encode()),
        }
        return save(tensors, {METADATA_KEY: _canonical(envelope)})

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically.

        Raises:
            StorageError: the file system refused. No half-written file is left behind.
        """
        write_atomically(path, self.to_bytes())


@dataclasses.dataclass(frozen=True, eq=False)
class TextMessage(Message):
    """A text message."""

    text: str
    header: Header = dataclasses.field(default_factory=Header)
    kind = "text"

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise MessageError("the text message is empty, expected at least a word; let the sender write again")
        _complete(self, torch.uint8, (self.byte_size,))

    @property
    def byte_size(self) -> int:
        """Bytes that the receiver gets: the UTF-8 text."""
        return len(_encode(self.text))

    latents = 0

    def tensors(self) -> dict[str, Tensor]:
        return {"text": _text_tensor(self.text)}


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenMessage(Message):
    """A message of hidden states, with the text that they belong to, if there is any.

    Raises MessageError if there are no latents, if a value is NaN or infinite, or if parts differ in length.
    """

    hidden_states: Float[Tensor, "T D"]
    text: str = ""
    """The text that the sender wrote with these states. Empty for latent steps."""
    token_ids: tuple[int, ...] = ()
    """The token of each latent in the sender's vocabulary. Empty if unknown, or if no text was written."""
    header: Header = dataclasses.field(default_factory=Header)
    kind = "hidden"

    def __post_init__(self) -> None:
        shape = tuple(self.hidden_states.shape)
        if len(shape) != 2 or 0 in shape:
            raise MessageError(
                f"the hidden message has shape {list(shape)}, expected [latents, hidden size] with at least "
                "one latent; let the sender write a plan that is not empty"
            )
        _check_floating({"hidden_states": self.hidden_states})
        _check_numbers("token ids", self.token_ids)
        for name, count in (("token ids", len(self.token_ids)), ("positions", len(self.header.positions))):
            if count not in (0, shape[0]):
                raise MessageError(
                    f"the message has {shape[0]} latents but {count} {name}, expected one for each; {MAKE_AGAIN}"
                )
        _complete(self, self.hidden_states.dtype, shape)

    @property
    def byte_size(self) -> int:
        """Bytes that the receiver gets: the latents. Text and header are for people and do not count."""
        return self.hidden_states.numel() * self.hidden_states.element_size()

    @property
    def latents(self) -> int:
        return self.hidden_states.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        body = {"hidden_states": self.hidden_states}
        if self.text:
            body["text"] = _text_tensor(self.text)
        if self.token_ids:
            body["token_ids"] = torch.tensor(self.token_ids, dtype=torch.int64)
        return body


@dataclasses.dataclass(frozen=True, eq=False)
class CacheMessage(Message):
    """A KV cache as a message: keys and values of every layer, with mask, true positions and segments.

    The fields are those of `interlat.engine.cache.KVCache`, as plain tensors. Keys and values are floating point, or
    int8 with scales. Raises MessageError if there are no layers or positions, a value is not finite, or shapes differ.
    """

    keys: Sequence[Float[Tensor, "B H T d"]]
    """One tensor a layer."""
    values: Sequence[Float[Tensor, "B H T d"]]
    """One tensor a layer."""
    attention_mask: Bool[Tensor, "B T"]
    """True where a position of a sequence is filled."""
    position_ids: Int[Tensor, "B T"]
    """True position at which each was computed."""
    segment_ids: Int[Tensor, "B T"]
    """Segment of each position, as an index into ``segment_names``. -1 where the mask is False."""
    segment_names: tuple[str, ...]
    """Names of the segments."""
    next_position: Int[Tensor, " B"]
    """Position of the next input of each sequence."""
    hidden_states: Float[Tensor, "B D"]
    """The state of each sequence that predicts its next token."""
    header: Header = dataclasses.field(default_factory=Header)
    layer_mask: Bool[Tensor, "B L T"] | None = None
    """True where a layer may attend to a position. None if all layers attend to all positions."""
    key_scales: Sequence[Float[Tensor, "B H T"]] = ()
    """One tensor a layer if keys are int8: the factor of each position of a head. Empty for floating-point keys."""
    value_scales: Sequence[Float[Tensor, "B H T"]] = ()
    """The same for values."""
    kind = "cache"

    def __post_init__(self) -> None:
        first = tuple(self.keys[0].shape) if self.keys else ()
        if len(first) != 4 or 0 in first:
            raise MessageError(
                f"the cache message has {len(self.keys)} layers of shape {list(first)}, expected at least "
                f"one of shape [batch, heads, positions, size] with nothing empty; {MAKE_AGAIN}"
            )
        batch, _, positions, _ = first
        layers = {name: self._fitting(name) for name in self._layer_names()}
        expected = {
            **{name: (shape, self.keys[0].dtype) for name, shape in layers.items()},
            "attention_mask": ((batch, positions), torch.bool),
            "position_ids": ((batch, positions), torch.int64),
            "segment_ids": ((batch, positions), torch.int64),
            "next_position": ((batch,), torch.int64),
            "hidden_states": ((batch, *self.hidden_states.shape[1:2]), self.hidden_states.dtype),
        }
        scaled = self.keys[0].dtype == torch.int8
        if self.layer_mask is not None:
            expected["layer_mask"] = ((batch, len(self.keys), positions), torch.bool)
        if scaled:
            scales = zip(self._layer_names("key_scales", "value_scales"), layers.values(), strict=True)
            expected |= {name: (shape[:3], torch.float32) for name, shape in scales}
        found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in self._tensors().items()}
        misfits = sorted({name for name, _ in found.items() ^ expected.items()})
        if misfits:
            raise MessageError(
                f"{', '.join(misfits)} of the cache message do not fit its first layer {list(first)}, "
                f"expected its sequences, positions and dtype in all layers and one flag, position and segment each; "
                f"{MAKE_AGAIN}"
            )
        floating = {*self._layer_names(*(("key_scales", "value_scales") if scaled else LAYERS)), "hidden_states"}
        _check_floating({name: tensor for name, tensor in self._tensors().items() if name in floating})
        self._check_positions()
        one = len({tuple(tensor.shape) for tensor in (*self.keys, *self.values)}) == 1
        sizes = (size for pair in zip(self.keys, self.values, strict=True) for t in pair for size in t.shape[1::2])
        shape = first if one else (batch, positions, *sizes)
        _complete(self, self.keys[0].dtype, (len(self.keys), *shape))

    def _fitting(self, name: str) -> tuple[int, ...]:
        """The shape that keys or values need: sequences and positions of the first layer, their own heads and size."""
        part, _, layer = name.partition(".")
        first, tensors = self.keys[0].shape, getattr(self, part)
        own = tensors[int(layer)].shape if int(layer) < len(tensors) else first
        if len(own) != 4 or 0 in own:
            return tuple(first)
        return first[0], own[1], first[2], own[3]

    def _check_positions(self) -> None:
        names = self.segment_names
        if not all(type(name) is str for name in names):
            raise MessageError(f"the segment names of the cache message are {names!r}, expected text; {MAKE_AGAIN}")
        bounds = {
            "segment_ids": (self.segment_ids, -1, len(names) - 1),
            "position_ids": (self.position_ids, 0, LARGEST),
            "next_position": (self.next_position, 0, LARGEST),
        }
        for name, (numbers, least, most) in bounds.items():
            low, high = int(numbers.min()), int(numbers.max())
            if low < least or high > most:
                raise MessageError(
                    f"{name} of the cache message is from {low} to {high}, expected from {least} to {most}; "
                    f"{MAKE_AGAIN}"
                )

    def _layer_names(self, *parts: str) -> list[str]:
        return [f"{part}.{layer}" for part in parts or LAYERS for layer in range(len(self.keys))]

    def _tensors(self) -> dict[str, Tensor]:
        parts = (*LAYERS, "key_scales", "value_scales")
        layers = {f"{part}.{layer}": tensor for part in parts for layer, tensor in enumerate(getattr(self, part))}
        masked = {} if self.layer_mask is None else {"layer_mask": self.layer_mask}
        return layers | masked | {name: getattr(self, name) for name in CACHE_TENSORS}

    @property
    def byte_size(self) -> int:
        """Bytes that the receiver gets: keys, values, their scales, masks, positions, segments and last states."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors().values())

    @property
    def latents(self) -> int:
        return self.keys[0].shape[2]

    def tensors(self) -> dict[str, Tensor]:
        return self._tensors() | {"segment_names": _text_tensor(json.dumps(self.segment_names))}


def load_message(path: str | Path) -> Message:
    """Read and check the message in the file ``path``.

    Raises:
        MessageError: the file is missing, truncated, altered in any byte or of another format; or the message is
            empty, or holds NaN or infinite values.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MessageError(f"cannot read the message {path}: {error.strerror}; check the path") from error
    return from_bytes(data, source=str(path))


def from_bytes(data: bytes, source: str = "the received bytes") -> Message:
    """Read the message from ``data``, the content of a message file. Errors call it ``source``.

    Raises:
        MessageError: as for `load_message`.
    """
    header = _read_header(data, source)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise MessageError(f"{source} is truncated or altered, expected a whole message file; {MAKE_AGAIN}") from error
    if _digest(tensors) != header.sha256:
        raise MessageError(f"{source} was altered (its body does not match its checksum); {MAKE_AGAIN}")
    message = _build(tensors, header, source)
    found = dataclasses.replace(message.header, sha256=header.sha256)
    if found != header:
        raise MessageError(
            f"the header of {source} announces {header.dtype} {list(header.shape)} but its body is "
            f"{found.dtype} {list(found.shape)}, expected the same; {MAKE_AGAIN}"
        )
    form, expected = (
        {name: (tensor.dtype, tensor.shape) for name, tensor in body.items()} for body in (tensors, message.tensors())
    )
    if form != expected:
        misfits = ", ".join(sorted({name for name, _ in form.items() ^ expected.items()}))
        raise MessageError(
            f"{source} has {misfits} as no {header.kind} message has it, expected the parts that interlat writes; "
            f"{MAKE_AGAIN}"
        )
    object.__setattr__(message, "header", header)
    return message


def _complete(message: Message, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    _check_numbers("positions", message.header.positions)
    try:
        provenance, rules = (
            json.loads(json.dumps(dict(fields), allow_nan=False))
            for fields in (message.header.provenance, message.header.rules)
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"the provenance of the message is not JSON ({error}); use plain finite values") from error
    if not _is_shallow([provenance, rules]):
        raise MessageError(f"the provenance of the message is nested more than {DEEPEST} levels deep; make it flatter")
    header = dataclasses.replace(
        message.header,
        kind=message.kind,
        dtype=str(dtype).removeprefix("torch."),
        shape=shape,
        positions=tuple(message.header.positions),
        provenance=provenance,
        rules=rules,
        sha256="",
        format_version=FORMAT_VERSION,
    )
    object.__setattr__(message, "header", header)


def _is_shallow(value: Any) -> bool:
    """Whether JSON is nested at most `DEEPEST` levels deep."""
    level = [value]
    for _ in range(DEEPEST):
        nested = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [inner for one in nested for inner in one]
    return not level


def _check_numbers(name: str, numbers: Sequence[int]) -> None:
    wrong = next((number for number in numbers if type(number) is not int or not 0 <= number <= LARGEST), None)
    if wrong is not None:
        raise MessageError(f"{name} of the message hold {wrong!r}, expected whole numbers from 0 on; {MAKE_AGAIN}")


def _check_floating(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATING:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOATING)
            raise MessageError(f"{name} of the message is {tensor.dtype}, expected {known}; {MAKE_AGAIN}")
        broken = int((~tensor.isfinite()).sum())
        if broken:
            raise MessageError(
                f"the message holds {broken} NaN or infinite values in {name}, expected finite ones; "
                "check the sender (its dtype may overflow) and make the message again"
            )


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise MessageError(f"the text of the message is not valid Unicode ({error.reason}); {MAKE_AGAIN}") from error


def _text_tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray(_encode(text)), dtype=torch.uint8)


def _tensor_text(tensor: Tensor) -> str:
    return tensor.numpy().tobytes().decode()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _canonical(header: Mapping[str, Any]) -> str:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _read_header(data: bytes, source: str) -> Header:
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    try:
        content = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])["__metadata__"][METADATA_KEY]
        envelope = json.loads(content, parse_constant=_refuse_constant)
        name, fields, digest = envelope["format"], dict(envelope["header"]), envelope["header_sha256"]
        version = fields["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MessageError(
            f"{source} is not a whole message file (truncated, altered or of another kind); {MAKE_AGAIN}"
        ) from error
    if (name, version) != (FORMAT, FORMAT_VERSION):
        raise MessageError(
            f"{source} has format {name} version {version}, expected {FORMAT} version {FORMAT_VERSION}; "
            "use the version of interlat that wrote it"
        )
    if sha256_of(_canonical(fields).encode()) != digest:
        raise MessageError(f"{source} was altered (its header does not match its checksum); {MAKE_AGAIN}")
    return _header_of(fields, source)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _header_of(fields: Mapping[str, Any], source: str) -> Header:
    fields = {"space_fingerprint": "", "rules": {}, **of_files(fields)}  # the first files have neither of these two
    free: dict[str, Any] = {name: fields.get(name) for name in ("provenance", "rules")}
    try:
        if set(fields) != HEADER_FIELDS or not all(isinstance(value, dict) for value in free.values()):
            raise ValueError("another set of fields")
        # The free parts may hold what pydantic takes for no text, such as half a pair of surrogates.
        header = typed(Header, {**fields, "provenance": {}, "rules": {}})
    except ValueError as error:
        raise MessageError(
            f"the header of {source} lacks a field or has one of a wrong type ({error}); {MAKE_AGAIN}"
        ) from error
    return dataclasses.replace(header, **free)


def _build(tensors: Mapping[str, Tensor], header: Header, source: str) -> Message:
    try:
        if header.kind == "text":
            return TextMessage(_tensor_text(tensors["text"]), header)
        if header.kind == "hidden":
            return HiddenMessage(
                tensors["hidden_states"],
                _tensor_text(tensors["text"]) if "text" in tensors else "",
                tuple(tensors["token_ids"].tolist()) if "token_ids" in tensors else (),
                header,
            )
        layers = range(sum(name.startswith("keys.") for name in tensors))
        parts: dict[str, Any] = {
            part: tuple(tensors[f"{part}.{layer}"] for layer in layers)
            for part in (*LAYERS, "key_scales", "value_scales")
            if f"{part}.0" in tensors
        }
        parts |= {name: tensors[name] for name in CACHE_TENSORS}
        return CacheMessage(
            **parts,
            layer_mask=tensors.get("layer_mask"),
            segment_names=tuple(json.loads(_tensor_text(tensors["segment_names"]))),
            header=header,
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise MessageError(
            f"the body of {source} does not fit a {header.kind} message ({error}); {MAKE_AGAIN}"
        ) from error
