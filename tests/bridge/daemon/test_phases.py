"""A mode that ends by itself."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import pytest_twisted

from bridge.policy import Mode


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_mode_ends_without_a_reload_and_the_log_has_the_policy(house: Any) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
    stock = house.second().replace("{svc:", "{stock:")  # an account that no system has enforced
    house.write(systems=stock + f"    mode: observe\n    mode_until: {soon.isoformat(timespec='seconds')}\n")
    await house.bridge.reload()
    assert house.policy.systems["stock"].mode is Mode.OBSERVE
    before = len(house.events("policy.version"))
    await house.until(lambda: house.policy.systems["stock"].mode is Mode.ENFORCE)
    await house.until(lambda: len(house.events("policy.version")) == before + 1)
    await house.bridge.reload()
    assert house.policy.systems["stock"].mode is Mode.ENFORCE
