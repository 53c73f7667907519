"""Static legacy accounts: where their secrets lie, and when to stop trying one.

Ideas:

* A secret is named by a reference (``env:``, ``file:``, ``store:``) and read when a session needs it, never before.
* A vault reads in a thread; its errors name the reference, never the value.
* After one refused static password the bridge stops trying, before the legacy system locks the account.
"""
