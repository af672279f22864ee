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
- `journal` writes what happened, `logs` renders it.
- `config` reads the configuration, `tables`, out of `settings`, `environment` (`sections` of which are listeners),
  `seed` and `options`; it is checked by `structure`, `addresses` and `encryption`, and shown by `effective`. `dropins`
  finds handlers, `hooks` sees whether theirs are misspelt, and `ownership` asks who else could change them.
- `listeners` makes a listener of a configuration, `service` runs them all under twistd (`tap`, `systemd`,
  `allocator`), `cli` is the command. `handlers` and `plugins` hold the built-in handlers, `demo` a broker and a client
  to play with.
"""

__all__: list[str] = []
