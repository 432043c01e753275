"""A run of jobs through faults that are drawn from a seed. Longer: ``python -m soak.drive``."""

import os

import pytest

from soak.drive import soak

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

SECONDS = float(os.environ.get("JOBWIRE_SOAK_SECONDS", "120"))
SEED = int(os.environ.get("JOBWIRE_SOAK_SEED", "1"))


def test_every_job_has_its_one_outcome_whatever_the_network_does() -> None:
    report, wrong = soak("jobwire", SECONDS, SEED)
    print(report)
    assert not wrong, report
