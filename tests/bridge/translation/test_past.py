"""What agents asked, read back: without what nobody's grants gave."""

from __future__ import annotations

from dataclasses import replace

import pytest_twisted
from sqlalchemy import Engine

from bridge.translation import LogReader, SessionFacts, SQLLog, facts
from bridge.translation.past import in_thread_questions
from bridge.translation.query import parse


@pytest_twisted.ensureDeferred
async def test_sessions_that_stand_on_what_was_given_for_a_time_are_left_out(
    log: SQLLog, session_facts: SessionFacts, engine: Engine
) -> None:
    for session, rules in (("ses_1", ["read"]), ("ses_2", ["request:req_1"]), ("ses_3", ["read", "request:req_1"])):
        decision = facts.decision_section(effect="allow", rules=rules)
        index = replace(session_facts.index, session=session)
        sections = {**session_facts.sections, "decision": decision}
        opened = log.session(replace(session_facts, index=index, sections=sections))
        await opened.opened()
        opened.operation(facts.action_section("sql.select", "read", text="SELECT 1"), "read").finish()
        opened.closed()
    await log.stop()
    found = list(in_thread_questions(LogReader(engine), parse("-type:log.read")))
    assert sorted(question.action for question in found) == ["", "", "read", "read"]
