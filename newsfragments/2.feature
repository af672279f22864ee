``twistd mgate`` puts your handlers in front of an MQTT broker. For MQTT 3.1, 3.1.1 and 5.0, each CONNECT, will, PUBLISH,
SUBSCRIBE and delivery is admitted, refused with a reason that the device is told, or rewritten; a handler may take its
time, and then only its own device waits. Interceptors see whole packets, in both directions. Handlers are found in
folders (``--plugin-dir``), in installed wheels and among those that come with mgate; ``mgate handlers`` lists them.

Listeners are configured in a TOML file, by ``MGATE_*`` variables or on the command line. ``mgate run`` starts them in
the foreground, ``mgate check`` finds every mistake before a start, ``mgate config`` prints what is in effect and who
said so, ``mgate demo`` shows all of it with a broker of its own, and ``mgate pub`` and ``mgate sub`` say in words what a
device is told. Sizes, times and numbers of connections are limited for each listener, and refusals are logged in one
line each. ``mgate.mqtt.protocol.MqttDeviceFactory`` is the gateway for Twisted programs of your own.
