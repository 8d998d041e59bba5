"""The test suite: `tests.reference` holds the slow twins, `tests.contract` what every method must keep."""
