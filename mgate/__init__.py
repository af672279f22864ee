"""A programmable gateway in front of an MQTT broker: the map of its modules, lowest first.

START READING at `mgate.mqtt.relay`: the path of every packet. Why it is so: docs/topics/architecture.rst.

- `errors`, `session`, `outcome`, `interfaces`: what can go wrong, who is speaking, what a relay answers, what a handler
  may do. `limits` and `counters`: what strangers may use up, and what happened.
- `handler` is what handlers' authors import; `testing` is for their tests.
- `mqtt.packets` is every packet as a value; `decode`, `encode`, `connect`, `properties`, `reasons`, `fields`, `text`
  and `framing` turn bytes into them and back, and know no policy.
- `policy` folds the handlers of a listener into one question for each hook; `verdict` reads what they answer.
- `mqtt.relay` is one connection without I/O: a `lane` for each direction, a step for each packet (`steps`), and for
  those that somebody watches a journey to one of the `judges` in `connecting`, `publishing` and `subscribing`, with
  `aliases`, `exchanges` and `topics` as its memory. `ending` is how it ends. `refusal` renders every no, `report` has
  it logged, `choices` is what an operator chose.
- `flow` and `link` join two transports around a relay: dial, back-pressure, time-outs of handlers, the end. `dialling`
  has it logged why a target could not be reached.
  `mqtt.protocol` is the pair of Twisted protocols, and the factory that programs embed.
- `http` judges requests and passes them on, for programs that embed it; no listener has it yet. `http.heads` reads
  heads, `bodies` their bodies, `responses` those of targets; `rules` says what a request may be, with `paths`,
  `credentials` and `choices`; `exchange` asks about one request, `forwarding` writes it for the target, `answers` says
  every no. `http.protocol` has the factory, `device` and `connection` are a device's side, `transfer` moves bodies, and
  a `pool` keeps connections to targets.
- `websocket` carries MQTT, for programs that embed it; no listener has it yet. `websocket.frames` and `handshake` are
  the bytes, `closing` says how it ends, and a `carrier` is a transport for the protocol above: `websocket.device` for
  devices, `websocket.target` towards a target.
- `proxyprotocol.header` reads and `proxyprotocol.encode` writes headers of the PROXY protocol, with `crc32c`; `wrapper`
  sits on a port, `outgoing` tells a target. `proxyprotocol` knows nothing of MQTT, nor does `tls`:
- `tls.contexts` is what a listener serves with, out of files (`credentials`); `connection` is one device, whose
  handshake is held until its certificate is known to be good; `verify` answers OpenSSL, `identity` says who the device
  is. `client` and `client_context` are TLS towards a target.
- `tls.revocation` decides about a certificate (`status`), `revocation_watch` about those that are connected already.
  Every `revocation_method` remembers (`finding_cache`) and asks: `ocsp_method` with the codec `ocsp`, `crl_method`
  with `held_crl` and the codec `crl`; both know what is `signed`. `fetch` reads URLs, one `fetch_connection` for each,
  as far as `fetch_rules` lets it. `checkers` are those of the process.
- `journal` writes what happened, `logs` renders it.
- `config` reads the configuration, `tables` (those of TLS: `tls.settings`), out of `settings`, `environment`
  (`sections` of which are listeners), `seed` and `options`; it is checked by `structure`, `addresses` and `encryption`,
  and shown by `effective`. `dropins` finds handlers, `hooks` sees whether theirs are misspelt, and `ownership` asks who
  else could change them.
- `generation` is one reading of the configuration with all its files, which a reload makes anew. `listeners` makes
  what serves devices out of it: an `entrance` (PROXY header, TLS) in front of the factory of a protocol, and the
  endpoints of its `targets`. A `binding` is an address that is listened on; `serving` opens them all and replaces what
  is behind them.
- `service` runs that under twistd (`tap`, `systemd`, `allocator`), `cli` is the command. `handlers` and `plugins` hold
  the built-in handlers, `demo` a broker and a client to play with.
"""

__all__: list[str] = []
