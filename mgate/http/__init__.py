"""HTTP/1.1 (RFC 9110, RFC 9112) through the gateway: a reverse proxy whose requests are publishes and reads.

- `rules`: what a request is: its action, its canonical path and topic, what of its fields goes on. START READING HERE.
- `heads`, `bodies`, `responses`: what is on the wire, parsed strictly; `paths` and `credentials`: what is in it.
- `answers`: every refusal as a status with a JSON body.
- `forwarding`: the head that the target gets, and the one that the device gets.
- `exchange`: one request, from its head to its answer, judged by the policy; no I/O.
- `protocol`: the factory; `device` and `connection`: a device; `transfer` and `pool`: the way to the target.
"""
