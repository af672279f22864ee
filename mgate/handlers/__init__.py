"""The handlers that come with the gateway, one in each file; `mgate.plugins.builtin` gives them their names."""

__all__: list[str] = []
