"""Who is this: credentials in, one verified identity out; and the register of agents it may belong to.

Ideas:

* Strict envelope and claim rules are our own and come first; PyJWT checks the signature and nothing else.
* An issuer record pins everything: profile, algorithms, keys, audiences, lifetime. Nothing in a token widens it.
* A profile is a named, closed rule set: a token is good under exactly the one its issuer is configured for.
* The deny list is keyed by (iss, jti), or by the digest of the signing input, never by the token as text.
* Delegation is normalised to (agent, delegator, chain) and can only be logged or demanded; it never adds rights.
* The path of a login reads keys from memory; fetching them happens beside it and is bounded in time, size and rate.
"""
