"""What travels between two agents: text, hidden states or a KV cache, each with a checked header.

On disk and on the wire a message is one safetensors file: the body is its tensors, the header is JSON in its
metadata. The header holds a digest of the body and is itself covered by a digest, so no altered byte goes
unnoticed. Nothing is ever unpickled.
"""

import abc
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from interlat.errors import MessageError
from interlat.files import sha256_of, write_atomically

Kind = Literal["text", "hidden", "cache"]
Norm = Literal["post", "pre"]
Offset = Literal["predicting", "consuming"]

FORMAT = "interlat-message"
FORMAT_VERSION = 1
METADATA_KEY = "interlat"
LENGTH_BYTES = 8
MAKE_AGAIN = "make or copy the message again"


@dataclasses.dataclass(frozen=True)
class Header:
    """Where a message comes from and how its body is to be read.

    ``kind``, ``dtype``, ``shape`` and ``format_version`` are filled in from the body by the message itself.
    """

    model: str = ""
    """Name (path or hub id) of the model that produced the message."""
    revision: str = ""
    """Revision of that model, if known."""
    weights_fingerprint: str = ""
    """Fingerprint of the producing model's weights."""
    tokenizer_fingerprint: str = ""
    """Fingerprint of its tokenizer."""
    layer: int = -1
    """Layer of the hidden states; -1 is the last one. No meaning for text."""
    norm: Norm = "post"
    """Whether the states were taken after or before the final norm. No meaning for text."""
    offset: Offset = "predicting"
    """Row t is the state that predicted token t ("predicting") or that had just read it ("consuming")."""
    positions: tuple[int, ...] = ()
    """Position of each row in the sender's sequence; empty if unknown or without meaning."""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Whatever else should be known (task, seed, sampling); JSON values."""
    kind: Kind = "hidden"
    """What the body is."""
    dtype: str = ""
    """Dtype of the main body tensor, as in ``torch.<dtype>``."""
    shape: tuple[int, ...] = ()
    """Shape: text [bytes], hidden [T, D], cache [L, B, H, T, d]."""
    sha256: str = ""
    """Digest of the body, set when a message is written or read; empty in one that has only lived in memory."""
    format_version: int = FORMAT_VERSION
    """Version of the file format."""


@dataclasses.dataclass(frozen=True)
class Expectations:
    """Which hidden messages a receiver can read; see `check_receiver`."""

    hidden_size: int
    """Size D of the message rows."""
    layer: int = -1
    """Layer that the rows must come from."""
    norm: Norm = "post"
    """Side of the final norm that they must come from."""
    offset: Offset = "predicting"
    """Which state belongs to which token."""
    sender: str = ""
    """Name of the sender trained with, for the error text."""
    weights_fingerprints: tuple[str, ...] = ()
    """Fingerprints of the senders trained with; empty accepts any."""
    tokenizer_fingerprint: str = ""
    """Fingerprint of the sender's tokenizer; empty accepts any."""
    max_rows: int | None = None
    """Longest message trained with; None is no limit."""


class Message(abc.ABC):
    """What the three kinds of message have in common."""

    kind: ClassVar[Kind]
    header: Header

    @property
    @abc.abstractmethod
    def byte_size(self) -> int:
        """Bytes that the receiver gets."""

    @property
    @abc.abstractmethod
    def rows(self) -> int:
        """Latent rows or positions in the body."""

    @abc.abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The body by name, as it stands in the file."""

    def to_bytes(self) -> bytes:
        """The message as a safetensors file in memory."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors().items()}
        header = dataclasses.asdict(dataclasses.replace(self.header, sha256=_digest(tensors)))
        envelope = {
            "format": FORMAT,
            "header": header,
            "header_sha256": sha256_of(_canonical(header).encode()),
        }
        return save(tensors, {METADATA_KEY: _canonical(envelope)})

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically.

        Raises:
            StorageError: the file system refused; nothing half-written is left.
        """
        write_atomically(path, self.to_bytes())


@dataclasses.dataclass(frozen=True, eq=False)
class TextMessage(Message):
    """A message in words."""

    text: str
    header: Header = dataclasses.field(default_factory=Header)
    kind = "text"

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise MessageError(
                "the text message is empty, expected at least one word; let the sender write again"
            )
        _complete(self, torch.uint8, (self.byte_size,))

    @property
    def byte_size(self) -> int:
        """Bytes that the receiver gets: the UTF-8 text."""
        return len(_encode(self.text))

    @property
    def rows(self) -> int:
        """Always 0: a text message has no latent rows."""
        return 0

    def tensors(self) -> dict[str, Tensor]:
        return {"text": _text_tensor(self.text)}


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenMessage(Message):
    """A message of hidden states, and the words they belong to if there were any.

    Raises MessageError if there are no rows, if a value is NaN or infinite, or if parts disagree in length.
    """

    hidden_states: Float[Tensor, "T D"]
    text: str = ""
    """What the sender said while it had these states; empty for a thought without words."""
    token_ids: tuple[int, ...] = ()
    """The token of each row in the sender's vocabulary; empty if unknown or wordless."""
    header: Header = dataclasses.field(default_factory=Header)
    kind = "hidden"

    def __post_init__(self) -> None:
        shape = tuple(self.hidden_states.shape)
        if len(shape) != 2 or 0 in shape:
            raise MessageError(
                f"the hidden message has shape {list(shape)}, expected [rows, hidden size] with at least one row; "
                "let the sender write a plan that is not empty"
            )
        _check_floating({"hidden_states": self.hidden_states})
        for name, count in (("token ids", len(self.token_ids)), ("positions", len(self.header.positions))):
            if count not in (0, shape[0]):
                raise MessageError(
                    f"the message has {shape[0]} rows but {count} {name}, expected one a row; {MAKE_AGAIN}"
                )
        _complete(self, self.hidden_states.dtype, shape)

    @property
    def byte_size(self) -> int:
        """Bytes that the receiver gets: the rows. Words and header are for people and are not counted."""
        return self.hidden_states.numel() * self.hidden_states.element_size()

    @property
    def rows(self) -> int:
        """Number of rows T."""
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
    """A message that is a piece of memory: keys and values of every layer, with mask and true positions.

    Raises MessageError if there are no layers or positions, if a value is not finite, or if shapes disagree.
    """

    keys: Sequence[Float[Tensor, "B H T d"]]
    values: Sequence[Float[Tensor, "B H T d"]]
    mask: Bool[Tensor, "B T"]
    next_position: Int[Tensor, " B"]
    segments: tuple[tuple[str, int, int], ...] = ()
    """Named spans ``(name, start, end)`` over T."""
    hidden_states: Float[Tensor, "B D"] | None = None
    """State that predicts the next token; needed only by a receiver that goes on without a prompt of its own."""
    header: Header = dataclasses.field(default_factory=Header)
    kind = "cache"

    def __post_init__(self) -> None:
        if (
            not self.keys
            or len(self.keys) != len(self.values)
            or self.keys[0].ndim != 4
            or 0 in self.keys[0].shape
        ):
            raise MessageError(
                f"the cache message has {len(self.keys)} key and {len(self.values)} value layers, expected one of each "
                f"a layer with shape [batch, heads, positions, size] and nothing empty; {MAKE_AGAIN}"
            )
        shape = tuple(self.keys[0].shape)
        batch, _, length, _ = shape
        shapes = {tuple(tensor.shape) for tensor in (*self.keys, *self.values)}
        dtypes = {tensor.dtype for tensor in (*self.keys, *self.values)}
        fits = (
            shapes == {shape}
            and len(dtypes) == 1
            and tuple(self.mask.shape) == (batch, length)
            and self.mask.dtype == torch.bool
            and tuple(self.next_position.shape) == (batch,)
            and self.next_position.dtype == torch.int64
            and (self.hidden_states is None or self.hidden_states.shape[:-1] == (batch,))
            and all(0 <= start <= end <= length for _, start, end in self.segments)
        )
        if not fits:
            raise MessageError(
                f"the parts of the cache message do not fit its first layer {list(shape)}, expected one shape and dtype "
                f"for all layers, mask [B, T], next_position [B] and segments within T; {MAKE_AGAIN}"
            )
        _check_floating({name: tensor for name, tensor in self.tensors().items() if name[0] in "kvh"})
        _complete(self, self.keys[0].dtype, (len(self.keys), *shape))

    @property
    def byte_size(self) -> int:
        """Bytes that the receiver gets: keys, values, mask and positions."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())

    @property
    def rows(self) -> int:
        """Number of positions T, padding included."""
        return self.keys[0].shape[2]

    def tensors(self) -> dict[str, Tensor]:
        body = {f"keys.{layer}": tensor for layer, tensor in enumerate(self.keys)}
        body |= {f"values.{layer}": tensor for layer, tensor in enumerate(self.values)}
        body |= {"mask": self.mask, "next_position": self.next_position}
        if self.hidden_states is not None:
            body["hidden_states"] = self.hidden_states
        if self.segments:
            body["segments"] = _text_tensor(json.dumps(self.segments))
        return body


def equal(first: Message, second: Message) -> bool:
    """Whether two messages have the same header (digest aside) and bit for bit the same body."""
    headers = [dataclasses.replace(message.header, sha256="") for message in (first, second)]
    return headers[0] == headers[1] and _digest(first.tensors()) == _digest(second.tensors())


def load_message(path: str | Path) -> Message:
    """Read and check the message in the file ``path``.

    Raises:
        MessageError: the file is missing, truncated, altered in any byte, of another format, empty, or holds NaN
            or infinite values.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MessageError(f"cannot read the message {path}: {error.strerror}; check the path") from error
    return from_bytes(data, source=str(path))


def from_bytes(data: bytes, source: str = "the received bytes") -> Message:
    """The message in ``data``, the content of a message file; ``source`` names it in errors.

    Raises:
        MessageError: as `load_message`.
    """
    header = _read_header(data, source)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise MessageError(
            f"{source} is truncated or altered, expected a whole message file; {MAKE_AGAIN}"
        ) from error
    if _digest(tensors) != header.sha256:
        raise MessageError(f"{source} was altered (its body does not match its checksum); {MAKE_AGAIN}")
    message = _build(tensors, header, source)
    found = dataclasses.replace(message.header, sha256=header.sha256)
    if found != header:
        raise MessageError(
            f"the header of {source} announces {header.dtype} {list(header.shape)} but its body is {found.dtype} "
            f"{list(found.shape)}, expected the same; {MAKE_AGAIN}"
        )
    object.__setattr__(message, "header", header)
    return message


def check_receiver(header: Header, expectations: Expectations) -> None:
    """Check, before the body is used, that a receiver was trained to read messages like this one.

    Raises:
        MessageError: names in one sentence everything that does not fit.
    """
    misfits = []
    if header.kind != "hidden":
        misfits.append(f"it is a {header.kind} message (expected hidden states)")
    elif len(header.shape) != 2 or header.shape[1] != expectations.hidden_size:
        misfits.append(f"its rows have shape {list(header.shape)} (expected size {expectations.hidden_size})")
    elif expectations.max_rows is not None and header.shape[0] > expectations.max_rows:
        misfits.append(f"it has {header.shape[0]} rows (expected at most {expectations.max_rows})")
    if (
        expectations.weights_fingerprints
        and header.weights_fingerprint not in expectations.weights_fingerprints
    ):
        misfits.append(
            f"it was made by {_name(header)} (expected the weights of {expectations.sender or 'its sender'})"
        )
    if (
        expectations.tokenizer_fingerprint
        and header.tokenizer_fingerprint != expectations.tokenizer_fingerprint
    ):
        misfits.append("its sender has another tokenizer")
    if header.kind == "hidden":
        for field in ("layer", "norm", "offset"):
            given, wanted = getattr(header, field), getattr(expectations, field)
            if given != wanted:
                misfits.append(f"its {field} is {given} (expected {wanted})")
    if misfits:
        raise MessageError(
            f"the message does not fit this receiver: {', '.join(misfits)}; "
            "let the sender that the receiver was trained with write it, or load the receiver of this sender"
        )


def _name(header: Header) -> str:
    return f"{header.model or 'an unnamed model'} with weights {header.weights_fingerprint[:12] or 'unknown'}"


def _complete(message: Message, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    try:
        provenance = json.loads(json.dumps(dict(message.header.provenance), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise MessageError(
            f"the provenance of the message is not JSON ({error}); use plain finite values"
        ) from error
    header = dataclasses.replace(
        message.header,
        kind=message.kind,
        dtype=str(dtype).removeprefix("torch."),
        shape=shape,
        positions=tuple(message.header.positions),
        provenance=provenance,
        sha256="",
        format_version=FORMAT_VERSION,
    )
    object.__setattr__(message, "header", header)


def _check_floating(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise MessageError(
                f"{name} of the message is {tensor.dtype}, expected a floating dtype; {MAKE_AGAIN}"
            )
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
        raise MessageError(
            f"the text of the message is not valid Unicode ({error.reason}); {MAKE_AGAIN}"
        ) from error


def _text_tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray(_encode(text)), dtype=torch.uint8)


def _tensor_text(tensor: Tensor) -> str:
    return tensor.numpy().tobytes().decode()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.flatten().view(torch.uint8).numpy()))
    return digest.hexdigest()


def _canonical(header: Mapping[str, Any]) -> str:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _read_header(data: bytes, source: str) -> Header:
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    try:
        envelope = json.loads(
            json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])["__metadata__"][METADATA_KEY]
        )
        name, fields, digest = envelope["format"], dict(envelope["header"]), envelope["header_sha256"]
        version = fields["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MessageError(
            f"{source} is not a whole message file of interlat (truncated, altered or of another kind); {MAKE_AGAIN}"
        ) from error
    if (name, version) != (FORMAT, FORMAT_VERSION):
        raise MessageError(
            f"{source} has format {name} version {version}, expected {FORMAT} version {FORMAT_VERSION}; "
            "use the version of interlat that wrote it"
        )
    if sha256_of(_canonical(fields).encode()) != digest:
        raise MessageError(f"{source} was altered (its header does not match its checksum); {MAKE_AGAIN}")
    return _header_of(fields, source)


def _header_of(fields: Mapping[str, Any], source: str) -> Header:
    lists = {"shape": fields.get("shape"), "positions": fields.get("positions")}
    sound = (
        set(fields) == {field.name for field in dataclasses.fields(Header)}
        and all(
            type(fields[name]) is str
            for name in ("model", "revision", "weights_fingerprint", "dtype", "sha256")
        )
        and type(fields["tokenizer_fingerprint"]) is str
        and type(fields["layer"]) is int
        and fields["kind"] in get_args(Kind)
        and fields["norm"] in get_args(Norm)
        and fields["offset"] in get_args(Offset)
        and isinstance(fields["provenance"], dict)
        and all(
            isinstance(value, list) and all(type(item) is int for item in value) for value in lists.values()
        )
    )
    if not sound:
        raise MessageError(f"the header of {source} lacks a field or has one of a wrong type; {MAKE_AGAIN}")
    return Header(**{**fields, **{name: tuple(value or ()) for name, value in lists.items()}})


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
        segments = json.loads(_tensor_text(tensors["segments"])) if "segments" in tensors else []
        return CacheMessage(
            tuple(tensors[f"keys.{layer}"] for layer in layers),
            tuple(tensors[f"values.{layer}"] for layer in layers),
            tensors["mask"],
            tensors["next_position"],
            tuple((str(name), int(start), int(end)) for name, start, end in segments),
            tensors.get("hidden_states"),
            header,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise MessageError(
            f"the body of {source} is not that of a {header.kind} message ({error}); {MAKE_AGAIN}"
        ) from error
