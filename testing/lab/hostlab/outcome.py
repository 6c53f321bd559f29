"""How runs with faults end, and what is counted of them."""

import collections
import dataclasses
import math

ALL_ON_OLD = "all_on_old"
ALL_ON_NEW = "all_on_new"
RECOVERABLE = "reported_recoverable"
LOST = "reported_lost"
SILENT = "lost_silently"
UNCLEAR = "unclear"
OUTCOMES = (ALL_ON_OLD, ALL_ON_NEW, RECOVERABLE, LOST, SILENT, UNCLEAR)
SURVIVED = (ALL_ON_OLD, ALL_ON_NEW, RECOVERABLE)


@dataclasses.dataclass
class Row:
    case: str     # "dax/3/save@vm2:eio"
    where: str    # "fakes" or "lab"
    outcome: str
    detail: str = ""
    want: tuple = ()  # Outcomes that this case must have; empty: any that is allowed.
    seconds: float = 0.0

    @property
    def failed(self):
        return self.outcome in (SILENT, UNCLEAR) or bool(self.want) and self.outcome not in self.want


def wilson(survived, runs, z=1.959964):
    """The 95 % interval of a rate of which `survived` of `runs` were seen; (0, 1) of none."""
    if not runs:
        return 0.0, 1.0
    rate = survived / runs
    middle = (rate + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z * math.sqrt(rate * (1 - rate) / runs + z * z / (4 * runs * runs)) / (1 + z * z / runs)
    return max(0.0, middle - half), min(1.0, middle + half)


def count(rows):
    """What `--json` prints of these rows, without the rows."""
    counts = collections.Counter(row.outcome for row in rows)
    survived = sum(counts[outcome] for outcome in SURVIVED)
    low, high = wilson(survived, len(rows))
    return {"runs": len(rows), **{outcome: counts[outcome] for outcome in OUTCOMES},
            "survived": survived, "survival_rate": survived / len(rows) if rows else 0.0,
            "survival_low_95": low, "survival_high_95": high,
            "failed": sum(row.failed for row in rows)}


def table(rows):
    """The same for people: a line for where it was seen, one for all."""
    lines = [f"{'':7}{'runs':>6}" + "".join(f"{outcome:>22}" for outcome in OUTCOMES) + "   survived (95 %)"]
    for where in (*sorted({row.where for row in rows}), None):
        sums = count([row for row in rows if where in (None, row.where)])
        lines.append(f"{where or 'all':7}{sums['runs']:6}" + "".join(f"{sums[outcome]:22}" for outcome in OUTCOMES)
                     + f"   {sums['survival_rate']:.1%} ({sums['survival_low_95']:.1%} … {sums['survival_high_95']:.1%})")
    return "\n".join(lines)
