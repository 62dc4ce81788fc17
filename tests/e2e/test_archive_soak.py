"""A few hundred files of every transfer syntax, one in ten damaged, leave nothing behind."""

import pytest

from service.imaging import decoder_processes
from tests.benchmarks import decoding_soak

pytestmark = pytest.mark.slow


def test_many_files_are_answered_and_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(decoder_processes, "MOST_S", 1)
    outcomes = decoding_soak.soaked(400)
    assert outcomes.wrong == 0, decoding_soak.report(400, outcomes, 0)
    assert outcomes.here["answered"] > 250
    assert outcomes.server["answered"] > 20
    for at in (0, 1):
        half, last = outcomes.held[200][at], outcomes.held[400][at]
        assert last.zombies == 0
        assert last.processes <= half.processes + 1
        assert last.descriptors <= half.descriptors + 8
        assert last.resident_mb < half.resident_mb * 1.25
