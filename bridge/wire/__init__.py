"""Sans-I/O kit that codecs share: no twisted, no sockets."""
