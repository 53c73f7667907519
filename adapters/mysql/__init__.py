"""MySQL and MariaDB.

Ideas:

* The server speaks first, so the greeting is made of what was learnt at the last login upstream (``probe``).
* The token is the cleartext password of ``caching_sha2_password`` inside TLS; every client has that, none is asked for
  more (``greeting``, ``passwords``).
* Both sides speak with the same capabilities, so the relay passes bytes on and still knows where it is in them.
* A command is read, classified and permitted before it goes upstream (``commands``, ``statements``).
"""
