"""What is counted of runs with faults."""

import pytest

from hostlab import outcome
from hostlab.outcome import Row


@pytest.mark.parametrize("survived, runs, low, high", [
    (10, 10, 0.7225, 1.0),  # Not 100 % to 100 %, as the plain interval has it.
    (0, 10, 0.0, 0.2775),
    (90, 100, 0.8256, 0.9448),
    (0, 0, 0.0, 1.0),
])
def test_wilson(survived, runs, low, high):
    assert outcome.wilson(survived, runs) == pytest.approx((low, high), abs=1e-4)


def test_counts():
    rows = [Row("a", "lab", outcome.ALL_ON_OLD), Row("b", "lab", outcome.LOST), Row("c", "fakes", outcome.SILENT)]
    sums = outcome.count(rows)
    assert (sums["runs"], sums["all_on_old"], sums["reported_lost"], sums["lost_silently"]) == (3, 1, 1, 1)
    assert sums["survived"] == 1 and sums["failed"] == 1
    assert len(outcome.table(rows).splitlines()) == 4


def test_an_outcome_that_a_case_must_not_have_is_a_failure():
    assert Row("a", "lab", outcome.LOST, want=(outcome.ALL_ON_OLD,)).failed
    assert not Row("a", "lab", outcome.LOST).failed
    assert Row("a", "lab", outcome.UNCLEAR).failed
