"""`interlat collect`."""

import functools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from interlat.cli.main import run_items
from interlat.collect.settings import CollectThoughts
from interlat.progress import in_bytes, say

if TYPE_CHECKING:
    from interlat.engine.distributed import Ranks
    from interlat.store.reading import LatentStore


@dataclass(frozen=True)
class Collect(CollectThoughts):
    """Run a model on tasks and save its hidden states in a latent store."""

    json: bool = False
    """Print dropped items and, at the end, the counts as JSON lines on stdout."""
    ray: int = 0
    """Number of workers of a Ray cluster that share the items. The cluster is $RAY_ADDRESS, else this machine.
    Each worker loads its own models. 0 runs without Ray."""

    def run(self) -> "LatentStore | None":
        """Collect; the store. Under torchrun the first process reports for all, and the others return None."""
        from interlat.store.reading import LatentStore

        return LatentStore.open(self.output) if run_items(self, "thoughts", self._notes) else None

    def steps(self, ranks: "Ranks") -> Iterator[tuple[int, int]]:
        """Collect the share of a rank."""
        from interlat.collect.thoughts import collect_thoughts

        for progress in collect_thoughts(self, ranks):
            self._notes["text"] = in_bytes(progress.bytes_written)
            yield progress.done, progress.total

    @functools.cached_property
    def _notes(self) -> dict[str, str]:
        return {"text": ""}

    def report(self, store: "LatentStore | None") -> int:
        """The counts, and why thoughts were left out; 1 if some failed."""
        if store is None:
            return 0
        excluded = store.excluded.values()
        counts = Counter(one.status for one in excluded)
        if self.json:
            for one in excluded:
                print(json.dumps(asdict(one), ensure_ascii=False))
            left_out = {status: counts[status] for status in ("failed", "filtered")}
            print(json.dumps({"store": self.output, "kept": len(store), **left_out}))
        said = f"{counts['filtered']} filtered out, {counts['failed']} failed"
        say(f"{len(store)} thoughts in {self.output}, {said}")
        for status in ("filtered", "failed"):
            reasons = Counter(one.reason for one in excluded if one.status == status)
            for reason, count in reasons.most_common(5):
                example = next(one.id for one in excluded if (one.status, one.reason) == (status, reason))
                say(f"  {count:6d} {status}: {reason}, such as {example}")
        return int(counts["failed"] > 0)
