``twistd mgate`` puts your handlers in front of an MQTT broker: for MQTT 3.1, 3.1.1 and 5.0, each CONNECT, PUBLISH,
SUBSCRIBE and delivery is admitted, refused with a reason that the device is told, or rewritten. Handlers are found in
folders (``--plugin-dir``), in installed wheels and among those that come with mgate; ``mgate handlers`` lists them.
