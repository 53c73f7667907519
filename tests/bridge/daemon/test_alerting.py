"""The alerts of a whole bridge: what no event says, and that watching goes on where it stopped."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from bridge.alerts import Outbox


def rules(house: Any) -> list[str]:
    return [one["rule"] for one in Outbox(house.bridge.storage.registry_engine, 0.0).in_thread_list(10)]


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_log_that_cannot_be_written_is_an_alert_all_the_same(house: Any) -> None:
    house.bridge.translation._fail("played: no space left on the device")
    await house.until(lambda: rules(house) == ["log"])


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_what_was_seen_is_not_seen_again(house: Any) -> None:
    for _ in range(5):
        client, heard = await house.client(house.token(audiences=["bridge:house"], agent="deploy-7"))
        assert heard.startswith("WELCOME")
        client.abort()
    house.write(more="alerts: {rules: {refused: {count: 1}}}", grants="  - {id: no, effect: deny, agents: [deploy-7]}")
    await house.bridge.reload()
    _, heard = await house.client()
    assert heard.startswith("ERROR")
    await house.until(lambda: rules(house) == ["refused"])
    await house.stop()
    await house.start()
    await house.until(lambda: house.events("alert"))
    assert rules(house) == ["refused"]
    assert len(house.events("alert")) == 1
