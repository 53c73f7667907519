"""Whether one token could be two agents, for many agents at once.

Bindings of one issuer are kept by the names of their claims (their shape). Two bindings overlap unless they differ in a
claim that both name, so a shape is asked through the values of the names in common: one look-up per shape.
"""

from __future__ import annotations

from bridge.identity.agents import Agent, Binding

_Names = tuple[str, ...]
_Table = dict[_Names, list[str]]  # values -> at most two agents: enough to find one that is not the asker


class Overlaps:
    """Agents are added one after the other; each is first compared with those before it."""

    def __init__(self) -> None:
        self._bindings: dict[str, dict[_Names, list[tuple[str, Binding]]]] = {}  # by issuer and shape
        self._tables: dict[tuple[str, _Names, _Names], _Table] = {}  # by issuer, shape and names in common
        self._keys: dict[str, str] = {}

    def add(self, agent: Agent) -> None:
        for binding in agent.bindings:
            shape = tuple(sorted(binding.names))
            self._bindings.setdefault(binding.issuer, {}).setdefault(shape, []).append((agent.id, binding))
            for (issuer, of, common), table in self._tables.items():
                if (issuer, of) == (binding.issuer, shape):
                    _note(table, binding, common, agent.id)
        for key in agent.public_keys:
            self._keys.setdefault(key, agent.id)

    def binding_of_another(self, agent: Agent) -> tuple[Binding, str] | None:
        """A binding of ``agent`` that a token could match together with another agent's, and that agent's id."""
        for binding in agent.bindings:
            for shape in self._bindings.get(binding.issuer, {}):
                common = tuple(name for name in shape if name in binding.names)
                table = self._table(binding.issuer, shape, common)
                for other in table.get(_values(binding, common), ()):
                    if other != agent.id:
                        return binding, other
        return None

    def key_of_another(self, agent: Agent) -> str | None:
        """The id of another agent that has a public key of ``agent``."""
        found = (self._keys.get(key, agent.id) for key in agent.public_keys)
        return next((other for other in found if other != agent.id), None)

    def _table(self, issuer: str, shape: _Names, common: _Names) -> _Table:
        key = (issuer, shape, common)
        if key not in self._tables:
            table = self._tables[key] = {}
            for agent, binding in self._bindings[issuer][shape]:
                _note(table, binding, common, agent)
        return self._tables[key]


def _values(binding: Binding, names: _Names) -> _Names:
    claims = dict(binding.claims)
    return tuple(claims[name] for name in names)


def _note(table: _Table, binding: Binding, common: _Names, agent: str) -> None:
    agents = table.setdefault(_values(binding, common), [])
    if len(agents) < 2 and agent not in agents:
        agents.append(agent)
