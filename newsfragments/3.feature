Listeners speak TLS 1.2 and 1.3 (``[listener.tls]``, the variables of the Go mGate, or ``--cert`` and ``--key``), with
several certificates by the name that a device asks for. With ``client_ca_file``, devices need certificates. Whether
these are revoked is asked by OCSP, CRL or both; a device whose certificate is revoked is refused with an alert, a slow
responder delays nobody else, and a connection is cut when its certificate is revoked later.

Handlers see the verified certificate in ``session.certificate``, and the built-in handler ``certificate`` takes client
identifier and user name from it, or compares them. Targets can be ``mqtts://``, with an authority of your own and a
certificate of the gateway (``[listener.target_tls]``).

``trusted_proxies`` names the load balancers whose PROXY protocol headers (v1 and v2) say who connects, and
``send_proxy_protocol`` tells the target. SIGHUP reloads configuration, certificates, keys and CRLs without dropping
a connection; if anything is wrong with them, everything stays as it was.

``certs/make_pki.py`` makes certificates to try all of it with, good and bad ones, and ``examples/ocsp_responder.py``
answers for them. ``mgate demo`` shows TLS, mutual TLS and a revoked certificate, and ``mgate pub`` and ``mgate sub``
speak TLS (``--cafile``, ``--cert``, ``--key``).
