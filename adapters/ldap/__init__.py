"""LDAP, version 3 (RFC 4510 to 4519), over TLS or StartTLS.

Ideas:

* The agent's Bind carries its token; the static account's Bind upstream is built anew. No byte of a Bind is forwarded.
* One upstream connection for each session, so message ids, cookies and abandons need no rewriting.
* Entries pass as opaque bytes unless a rule on attributes or names looks into them.
* Filters are read for what they name, never evaluated: the directory does that.
* What cannot be understood (a DN, an attribute's OID, a control) is refused, because policy could not judge it.

``bridge.discovery`` looks for ``ADAPTER`` in ``adapters.ldap.adapter``.
"""
