"""WebSocket: frames and the opening handshake without I/O, and the carrier that makes a byte stream of a connection.

A device's bytes come out of `mgate.websocket.carrier`, a target's out of `mgate.websocket.target`; what they carry is
the business of the factory behind them.
"""
