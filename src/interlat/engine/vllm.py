"""vLLM as an engine: continuous batching, and pages of keys and values that are shared by what begins alike.

What it computes is what the reference engine computes, up to rounding. Its memory of a conversation is not a cache of
keys and values but the list of everything that was read: token ids and latents. vLLM is given that list again each time
and finds most of it in its own prefix cache. So a memory is read on as a whole; it cannot leave the process, and no
positions can be left out of it.
"""

import itertools
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from interlat.engine.cache import AnyCache, KVCache
from interlat.engine.checkpoint import first_line, is_plain, load_checkpoint, load_model_config, load_tokenizer
from interlat.engine.fingerprint import loaded_fingerprint, tokenizer_fingerprint
from interlat.engine.hardware import choose_device, choose_dtype
from interlat.engine.hf import HFEngine
from interlat.engine.inputs import FILLER, LATENT, Done, InputsEngine, Reading, parts_of, shapes_of_memory
from interlat.engine.latent import StateMap
from interlat.engine.origin import Origin, rules_of
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.places import model_place

if TYPE_CHECKING:
    from interlat.engine.vllm_rows import Rows

NEEDED = {
    # States are taken out of a forward pass, and the model may not be in another process for that.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # The second model runner has another interface for logits processors.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}
"""Environment variables of vLLM without which nothing here works."""
DEFAULTS = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
"""Those that are set unless the user has set them."""
MEMORY = "INTERLAT_VLLM_MEMORY"
"""Environment variable: the share of a GPU's memory that each engine takes; two of them have to fit."""
PAGE = 32
"""Positions of a page of the CPU's cache, its least: what does not fill one is computed again at each step."""
TOLERANCE = 1e-2
"""Difference of states, as a share of their norm, from which a latent is read otherwise than the token it equals."""


class VLLMEngine(InputsEngine):
    """Runs one language model in vLLM, in this process. The contracts of its methods are written at `HFEngine`.

    The law of batching holds up to rounding. Under the same seeds it samples the same tokens as `HFEngine`. It gives
    the states of the last layer after its norm, and refuses other layers. Build it with `load`.
    """

    RUNS_IN = "vLLM"

    def __init__(
        self,
        llm: Any,
        rows: "Rows",
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
        origin: Origin,
        ends: int | list[int] | None = None,
    ) -> None:
        self.name = origin.name
        self.tokenizer = tokenizer
        self.revision = getattr(config, "_commit_hash", None) or "local"
        self.layers: int = config.num_hidden_layers
        self.hidden_size: int = config.hidden_size
        # vLLM cannot read without writing a token, which takes a position, and counts on where rotation is scaled.
        longest = int(llm.llm_engine.vllm_config.model_config.max_model_len) - 1
        self.context_length = min(longest, getattr(config, "max_position_embeddings", None) or longest)
        self.template = TemplateOptions()
        origin.shapes, origin.hidden_size = shapes_of_memory(self.hidden_size), self.hidden_size
        # In the place of the property, which knows nothing of the weights.
        self.__dict__["origin"] = origin
        self._ends = ends
        self._size: int = config.vocab_size
        self._llm, self._rows = llm, rows
        self._numbers = itertools.count()
        self._finished: dict[str, Any] = {}
        """What vLLM gave for requests whose runs have not come for it."""
        self._model: Any = llm.apply_model(lambda model: model)[0]
        rows.watch(self._model)
        self._check_latents()

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        trust_remote_code: bool = False,
    ) -> "VLLMEngine":
        """Load whatever `HFEngine.load` takes. GGUF files and adapters are written out as plain weights first.

        How much memory vLLM takes for its pages, its environment says (``VLLM_CPU_KVCACHE_SPACE``, in GB, on the CPU).

        Raises:
            CheckpointError: there is no usable model in that place, or vLLM cannot run it.
            InputError: the package vllm is missing, or a wrong dtype or device.
        """
        os.environ.update(NEEDED)
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            import vllm
            from interlat.engine.vllm_rows import Rows
        except ModuleNotFoundError as error:
            raise InputError(
                "the engine vllm needs the package vllm in the same environment (see the guide); or take the engine hf"
            ) from error
        chosen = choose_device(device)
        if chosen.index:
            raise InputError(
                f"device is {chosen}, and vLLM takes the first GPU that it sees; set CUDA_VISIBLE_DEVICES for each "
                "process, or share items out with --ray"
            )
        wanted = choose_dtype(dtype, chosen)
        place, folder, fingerprint = _plain_folder(path_or_hub_id, wanted, trust_remote_code)
        config = load_model_config(place)
        if "longrope" in str(getattr(config, "rope_parameters", "")):
            raise CheckpointError(
                f"{path_or_hub_id} has rotary factors that change with the length of a sequence (LongRoPE), which vLLM "
                "fixes for all; take the engine hf"
            )
        tokenizer = load_tokenizer(path_or_hub_id, trust_remote_code)
        pages = {"block_size": PAGE} if chosen.type == "cpu" else {}
        Rows.made.clear()
        try:
            llm = vllm.LLM(
                model=place,
                dtype=str(wanted).removeprefix("torch."),
                trust_remote_code=trust_remote_code,
                skip_tokenizer_init=True,
                # A recorded graph would run past the hook that takes the states out.
                enforce_eager=True,
                enable_prompt_embeds=True,
                enable_prefix_caching=True,
                generation_config="vllm",
                logits_processors=[Rows],
                seed=0,
                gpu_memory_utilization=_memory_share(),
                **pages,
            )
        except (RuntimeError, ValueError, ImportError, NotImplementedError, OSError) as error:
            raise _cannot_run(str(path_or_hub_id), error) from error

        ends = _ends_of(place, config)
        if folder is not None:
            # At once: a process that is killed clears nothing up.
            folder.cleanup()

        def weights() -> str:
            # Of the files: vLLM joins and renames weights.
            return fingerprint or loaded_fingerprint(
                load_checkpoint(path_or_hub_id, torch.bfloat16, "cpu", trust_remote_code)[0]
            )

        name, words = str(path_or_hub_id), lambda: tokenizer_fingerprint(tokenizer)
        origin = Origin(name, rules_of(config), weights, words, layer_count=config.num_hidden_layers)
        return cls(llm, Rows.made[-1], tokenizer, config, origin, ends)

    @property
    def device(self) -> torch.device:
        """Where vLLM computes."""
        device: torch.device = next(self._model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of embeddings and states."""
        dtype: torch.dtype = self._llm.llm_engine.vllm_config.model_config.dtype
        return dtype

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply: the chat template's, the tokenizer's and the model's end tokens."""
        return self.ends_of_replies(self._ends)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that it can read."""
        return self._size

    @property
    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The row that is read in the place of each token, computed anew each time."""
        return self.embed(torch.arange(self._size))

    @property
    def output_embeddings(self) -> Float[Tensor, "V D"]:
        """The weight of the LM head."""
        weight: Tensor = self._model.lm_head.weight
        return weight[: self._size]

    @property
    def ties_embeddings(self) -> bool:
        """Whether the LM head is the input table."""
        return bool(
            self.origin.rules.get("tie_word_embeddings", torch.equal(self.input_embeddings, self.output_embeddings))
        )

    @torch.no_grad()
    def embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows D"]:
        """Input embeddings of token ids."""
        rows: Tensor = self._model.embed_input_ids(ids.to(self.device).reshape(-1))
        return rows.view(*ids.shape, self.hidden_size)

    @torch.no_grad()
    def logits(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows V"]:
        """Next-token scores of states after the final norm, in the number format of the model."""
        rows = hidden_states.to(self.device, self.dtype).reshape(-1, self.hidden_size)
        scores: Tensor = self._model.compute_logits(rows)
        return scores.view(*hidden_states.shape[:-1], scores.shape[-1])

    def check_caches_travel(self, *, int8: bool = False) -> None:
        """Raise a MessageError: vLLM keeps its keys and values to itself."""
        raise MessageError(
            f"{self.name} runs in vLLM, which gives and takes no caches of keys and values; send text or hidden "
            "states, or take the engine hf"
        )

    def run(
        self, readings: Iterable[tuple[Any, Reading]], at_once: int, sampling: Sampling, ends: frozenset[int]
    ) -> Iterator[tuple[Any, Done]]:
        """See `InputsEngine.run`. vLLM decides what it reads and writes in a pass."""
        engine, running, waiting = self._llm.llm_engine, dict[str, tuple[Any, int, Reading]](), iter(readings)
        try:
            while True:
                for key, reading in itertools.islice(waiting, at_once - len(running)):
                    number = next(self._numbers)
                    running[str(number)] = key, number, reading
                    engine.add_request(str(number), *self._request(number, reading, sampling, ends))
                if not running:
                    return
                if not any(name in self._finished for name in running):
                    # What is read here may be made by another run of this engine, and each steps for both.
                    self._finished |= {output.request_id: output for output in engine.step() if output.finished}
                for name in [name for name in running if name in self._finished]:
                    key, number, reading = running.pop(name)
                    yield key, self._done(self._finished.pop(name).outputs[0], number, reading)
        finally:
            # Of a caller that wants no more.
            if running:
                engine.abort_request(list(running))
            for name, (_, number, _) in running.items():
                self._finished.pop(name, None)
                self._rows.jobs.pop(number, None)

    def _done(self, output: Any, number: int, reading: Reading) -> Done:
        ids, job = list(output.token_ids), self._rows.jobs.pop(number)
        stopped = output.finish_reason == "stop" and len(ids) <= reading.budget
        states = None if job.prompt_states is None else job.prompt_states[reading.before :].clone()
        # The last id is the stop token, or the one asked for beyond the budget, so that the one before is read.
        return Done(ids[:-1][: reading.budget], stopped, job.prompt_length, job.states, states)

    def _request(self, number: int, reading: Reading, sampling: Sampling, ends: frozenset[int]) -> tuple[Any, Any]:
        """A sequence as vLLM takes it: prompt and parameters."""
        from interlat.engine.vllm_rows import JOB, Job
        from vllm import SamplingParams

        room = self._nothing.new_zeros(len(reading.ids), self.hidden_size) if reading.wants_prompt else None
        self._rows.jobs[number] = Job(len(reading.ids), sampling, reading.uniforms, room)
        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=reading.budget + 1,
            stop_token_ids=sorted(ends),
            ignore_eos=True,
            detokenize=False,
            extra_args={JOB: number},
        )
        prompt: dict[str, Any] = {"prompt_token_ids": [FILLER if one == LATENT else one for one in reading.ids]}
        if len(reading.latents):
            real = torch.tensor(reading.ids) != LATENT
            embeddings = torch.zeros(len(reading.ids), self.hidden_size, dtype=self.dtype)
            embeddings[~real] = reading.latents.cpu()
            prompt |= {"prompt_embeds": embeddings, "prompt_is_token_ids": real.tolist()}
        # What is found among its pages vLLM does not compute. And it takes a latent of zeros for a token.
        if reading.wants_prompt or (len(reading.latents) and not reading.latents.any(dim=1).all()):
            prompt["cache_salt"] = f"interlat-{number}"
        return prompt, parameters

    def _check_latents(self) -> None:
        """Refuse a model that reads a latent otherwise than the token whose embedding it is."""
        ids = [number % self._size for number in range(3, 11)]
        rows = self.embed(torch.tensor(ids))
        readings = [Reading(ids, self._nothing), Reading([*ids[:4], *[LATENT] * 4], rows[4:])]
        try:
            token, latent = self._run_all(readings)
        except (RuntimeError, NotImplementedError) as error:
            # Such as a size of heads that its kernels do not have.
            raise _cannot_run(self.name, error) from error
        difference = (token.last.float() - latent.last.float()).norm() / token.last.float().norm()
        if not difference < TOLERANCE:
            raise CheckpointError(
                f"in vLLM {self.name} reads a latent made of a token's embedding otherwise than the token (difference "
                f"{float(difference):.3g}); take the engine hf"
            )


class HybridEngine(VLLMEngine):
    """Latent steps in the reference engine, all else in vLLM, as LatentMAS does (arXiv 2511.20639): a step there is one
    pass of the model, without a scheduler. Both hold the weights."""

    thinker: HFEngine

    @classmethod
    def load(
        cls,
        path_or_hub_id: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        trust_remote_code: bool = False,
    ) -> "HybridEngine":
        """See `VLLMEngine.load`."""
        engine = super().load(path_or_hub_id, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        assert isinstance(engine, HybridEngine), "it is of this class"
        engine.thinker = HFEngine.load(path_or_hub_id, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        return engine

    @torch.no_grad()
    def think(
        self,
        cache: AnyCache,
        latent_steps: int,
        connector: StateMap,
        *,
        segment: str = "latents",
        kept: LayerSelection | None = None,
        tolerance: float = 0.0,
        stop_ids: Collection[int] = (),
    ) -> tuple[KVCache, Float[Tensor, "B K *row_shape"]]:
        """See `HFEngine.think`. What was read before is read again there; other layers can be had."""
        before = self._taken(cache)
        prompts = [parts_of(reading) for reading in self._readings(before)]
        inputs: list[Tensor] = []

        def recorded(states: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B 1 D"]:
            inputs.append(connector(states).to(self.dtype, copy=True))
            return inputs[-1]

        memory = self.thinker.prefill(prompts, spare=max(0, latent_steps))
        grown, thoughts = self.thinker.think(
            memory, latent_steps, recorded, segment=segment, kept=kept, tolerance=tolerance, stop_ids=stop_ids
        )
        if not latent_steps:
            return before, thoughts
        taken = (grown.next_position - memory.next_position).tolist()
        rows = torch.cat(inputs, dim=1) if inputs else self._nothing[None].expand(len(before), -1, -1)
        new = [Reading([LATENT] * count, rows[row, :count]) for row, count in enumerate(taken)]
        return self._grown(before, new, segment, grown.hidden_states), thoughts


def _memory_share() -> float:
    given = os.environ.get(MEMORY, "0.45")
    try:
        share = float(given)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"{MEMORY} is {given!r}, expected a share of the GPU's memory above 0 and up to 1; correct it")
    return share


def _cannot_run(name: str, error: Exception) -> CheckpointError:
    return CheckpointError(f"vLLM cannot run {name}: {first_line(error)}; take another model or the engine hf")


def _plain_folder(place: str, dtype: torch.dtype, trust_remote_code: bool) -> tuple[str, Any, str]:
    """Where vLLM finds the weights, that folder if it is for this alone, and a fingerprint if they are not plain."""
    if is_plain(place):
        found = Path(model_place(place))
        others = [one for one in found.glob("*.safetensors") if not one.name.startswith("model")]
        if not others:
            return str(found) if found.is_dir() else model_place(place), None, ""
        # vLLM loads every safetensors file as weights of the model, and our adapter may lie in the same folder.
        folder = tempfile.TemporaryDirectory(prefix="interlat-vllm-")
        for one in found.iterdir():
            if one.is_file() and one not in others:
                (Path(folder.name) / one.name).symlink_to(one.resolve())
        return folder.name, folder, ""
    model, tokenizer = load_checkpoint(place, dtype, "cpu", trust_remote_code)
    folder = tempfile.TemporaryDirectory(prefix="interlat-vllm-")
    model.save_pretrained(folder.name)
    tokenizer.save_pretrained(folder.name)
    return folder.name, folder, loaded_fingerprint(model)


def _ends_of(place: str, config: PreTrainedConfig) -> int | list[int] | None:
    """The end tokens that a model's generation settings name, or without these its configuration."""
    try:
        settings = GenerationConfig.from_pretrained(Path(place))
    except OSError:
        settings = GenerationConfig.from_model_config(config)
    ends: int | list[int] | None = settings.eos_token_id
    return ends
