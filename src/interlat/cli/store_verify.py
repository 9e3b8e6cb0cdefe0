"""`interlat store verify`."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tyro.conf import Positional

from interlat.cli.store_info import open_store
from interlat.progress import gathered, say

if TYPE_CHECKING:
    from interlat.store.verify import Verdict


@dataclass(frozen=True)
class Verification:
    """What a check of a whole store found."""

    thoughts: int
    bad: "list[Verdict]"
    """Thoughts with a problem."""
    unclaimed_rows: dict[str, int]
    """Shard -> rows that belong to no thought."""
    lost_shards: list[str] = field(default_factory=list)
    """Shards whose index is lost."""


@dataclass(frozen=True)
class VerifyStore:
    """Check that every thought is whole: rows, checksums, values; exit code 1 if one is not."""

    store: Positional[str]
    """Folder of the store."""
    json: bool = False
    """Print one JSON line a bad thought on stdout, and a summary as the last line."""

    def run(self) -> Verification:
        """Read everything."""
        store = open_store(self.store)
        from interlat.store.verify import StoreCheck

        check = StoreCheck(store)
        bad = [verdict for verdict in gathered(check.verdicts(), len(store), "verify") if verdict.problem]
        return Verification(len(store), bad, check.unclaimed_rows, check.lost_shards)

    def report(self, found: Verification) -> int:
        """List what is bad on stdout; 1 if anything is."""
        for verdict in found.bad:
            line = json.dumps(dataclasses.asdict(verdict), ensure_ascii=False)
            print(line if self.json else f"{verdict.id}: {verdict.problem}")
        if self.json:
            print(json.dumps(dataclasses.asdict(found) | {"bad": len(found.bad)}))
        for shard, rows in found.unclaimed_rows.items():
            harm = "the index or journal that named them is lost" if shard in found.lost_shards else "they do no harm"
            say(f"shard {shard} has {rows} rows that belong to no thought; {harm}")
        say(f"{found.thoughts - len(found.bad)} of {found.thoughts} thoughts are whole, {len(found.bad)} are bad")
        return int(bool(found.bad or found.lost_shards))
