"""Fakes for authors of handlers: test your own rules without sockets, a reactor or a broker.

`relay_with` puts handlers into a connection that is already open. Each step returns an `Effect`, with every packet
that the step led to::

    class TenantRulesTests(unittest.TestCase):
        def test_topics_of_others_are_closed(self):
            device = relay_with(TenantRules(), username="alice")
            effect = device.publish("bob/t", b"1", qos=1)
            self.assertEqual(effect.published, [])
            self.assertEqual(effect.codes, [0x87])

`joined_link` adds the link and a clock that the test turns: for time-outs, and for how connections end. In both,
`FakeTarget` stands for the broker. What runs between them is the gateway itself, down to the bytes of each packet.

A handler that fails would only refuse, and a test of refusals could pass because of a typing mistake. So an exception
that is not `Denied` is raised again, in the step that caused it or, where the handler answered late, in the next one;
say ``raise_faults=False`` to see what devices see.

For tests with TLS, `mgate.testing.pki` makes certificates, good and bad, and `mgate.testing.responder` tells their
status, or misbehaves. Both are imported by name: they need `cryptography` and twisted.web.
"""

from __future__ import annotations

from mgate.testing.device import Effect, Refusal
from mgate.testing.link import LinkProbe, joined_link
from mgate.testing.relay import RelayProbe, relay_with
from mgate.testing.target import FakeTarget

__all__ = ["Effect", "FakeTarget", "LinkProbe", "Refusal", "RelayProbe", "joined_link", "relay_with"]
