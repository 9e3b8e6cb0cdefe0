"""What runs inside vLLM: it takes the states out of its forward passes, and chooses the tokens of samples.

Only what vLLM offers other packages is used: a logits processor, which is told which request is in which row of the
batch; the forward context, which says where each request's positions begin; and a hook on the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from vllm.forward_context import get_forward_context
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from interlat.engine.sampling import Sampling, choose

JOB = "interlat_job"
"""Where a request says which `Job` it is."""


@dataclass(eq=False)
class Job:
    """One request, and what was seen of it."""

    prompt_length: int
    sampling: Sampling
    uniforms: Float[Tensor, "N"] | None = None
    """A number for each token, where it samples; see `draw_uniforms`."""
    prompt_states: Float[Tensor, "P D"] | None = None
    """Room for the states at all positions of the prompt, where they are wanted."""
    states: dict[int, Float[Tensor, "D"]] = field(default_factory=dict)
    """By its position, the state that predicted each token: from the last position of the prompt on."""

    def see(self, states: Float[Tensor, "Q D"], last: Float[Tensor, "D"], end: int) -> None:
        """Note the states of Q positions before ``end``; ``last`` is the last of them, as a copy."""
        # By position: a request that vLLM put aside is computed again from its beginning.
        if end >= self.prompt_length:
            self.states[end - 1] = last
        start = end - len(states)
        if self.prompt_states is not None and start < self.prompt_length:
            room = self.prompt_states[start:end]
            room.copy_(states[: len(room)])


class Rows(LogitsProcessor):
    """Knows which job is in which row of vLLM's batch."""

    made: ClassVar[list["Rows"]] = []
    """Those that vLLM made; it takes the class and not an object."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.jobs: dict[int, Job] = {}
        """The jobs that are running, by the numbers that their requests name."""
        self._rows: dict[int, Job] = {}
        self._ends: Sequence[int] = ()
        self.made.append(self)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Called before each forward pass. The order is vLLM's: removed, added, moved."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._rows.pop(row, None)
        for row, parameters, *_ in batch_update.added:
            number: Any = (parameters.extra_args or {}).get(JOB)
            self._put(row, self.jobs.get(number))
        for first, second, direction in batch_update.moved:
            moved, other = self._rows.pop(first, None), self._rows.get(second)
            self._put(second, moved)
            if direction == MoveDirectionality.SWAP:
                self._put(first, other)

    def _put(self, row: int, job: Job | None) -> None:
        if job is None:
            self._rows.pop(row, None)
        else:
            self._rows[row] = job

    def watch(self, model: torch.nn.Module) -> None:
        """Look at what the model gives from now on: states after the final norm, of all positions of all requests."""
        model.register_forward_hook(lambda module, inputs, output: self._see(output))

    def _see(self, states: Float[Tensor, "Q D"]) -> None:
        if not self._rows:
            return
        metadata: Any = get_forward_context().attn_metadata
        found = (one for one in metadata.values() if hasattr(one, "query_start_loc") and hasattr(one, "seq_lens"))
        one = next(found, None)
        if one is None:
            raise NotImplementedError("its attention does not say where the positions of a sequence begin")
        count = max(self._rows) + 1
        starts, ends = one.query_start_loc[: count + 1], one.seq_lens[:count].tolist()
        lasts = states[starts[1:].long() - 1]
        places = starts.tolist()
        for row, job in self._rows.items():
            job.see(states[places[row] : places[row + 1]], lasts[row], ends[row])
        self._ends = ends

    def apply(self, logits: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
        """Leave the rows that sample the chosen token alone; vLLM itself takes the likeliest."""
        for row, job in self._rows.items():
            # Before the end of its prompt nothing is chosen.
            step = self._ends[row] - job.prompt_length
            if job.uniforms is not None and 0 <= step < len(job.uniforms):
                draw = job.uniforms[step : step + 1].to(logits.device)
                token = choose(logits[row : row + 1], job.sampling, draw)
                logits[row] = -torch.inf
                logits[row, token] = 0
        return logits
