"""The exceptions of the package.

Every error message says what was wrong, what was expected and what to do. The command line prints ``error: <message>``
as one line on stderr and exits with code 2.
"""


class InterlatError(Exception):
    """Base class of all errors that `interlat` raises on purpose."""


class InputError(InterlatError):
    """An argument, a configuration value or a user's file is not usable."""


class MessageError(InterlatError):
    """A message is damaged, empty, not finite, or not meant for this receiver."""


class CheckpointError(InterlatError):
    """A checkpoint lacks a part, or its parts do not fit together."""


class PromptError(InterlatError):
    """A prompt is empty, malformed, or longer than the model's context."""


class WorldError(InterlatError):
    """An environment, its data or its worker process is not usable."""


class StorageError(InterlatError):
    """The file system refused a write or a read."""


class BenchmarkError(InterlatError):
    """One side of a benchmark failed, or the two sides did not do the same work."""
