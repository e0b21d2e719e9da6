"""The Realtime API: a client's sound is read into the KV cache while somebody still speaks.

`protocol.py` is the API's state machine, pure: client events go in; server events, and commands to
a worker, come out.
"""
