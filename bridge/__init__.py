"""identity-bridge: agents connect as themselves, legacy systems see a static account, the log knows who it was.

Ideas: the core owns the order of every security step, an adapter owns the words of one protocol; no event, no action.
"""

__version__ = "0.1.0"
