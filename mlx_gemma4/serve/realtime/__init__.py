"""The Realtime API: sound that a client sends is read into the cache while somebody still speaks.

`protocol.py` is the API's state machine, pure: client events go in; server events, and commands to
a worker, come out.
"""
