"""One reading of the configuration: every handler made and every file read, and nothing of it put to use yet.

`mgate.serving` makes one at the start and at each reload, ``mgate check`` to see whether it can be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mgate.config import Configuration
from mgate.counters import Counters
from mgate.errors import ConfigError
from mgate.journal import Journal
from mgate.listeners import PROTOCOLS, Prepared
from mgate.policy import Policy
from mgate.tls.checkers import Checkers

__all__ = ["Generation", "load_policies"]


class Generation:
    """What a configuration leads to.

    Args:
        configuration: as it was read.
        reactor, journal: handed down.
        checkers: those of the process.
        counters: of listeners that there are already, by name.

    Attributes:
        configuration: as given.
        policies: who judges, by the name of the listener.
        prepared: the listeners, by name.

    Raises:
        ConfigError: with everything that cannot be had.
    """

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        journal: Journal,
        checkers: Checkers,
        counters: Mapping[str, Counters] | None = None,
    ) -> None:
        self.configuration = configuration
        self.policies: dict[str, Policy] = {}
        self.prepared: dict[str, Prepared] = {}
        problems: list[str] = []
        try:
            self.policies = load_policies(configuration, reactor, journal)
        except ConfigError as error:
            problems += error.problems
        for name, listener in configuration.listeners.items():
            prepare = PROTOCOLS[listener.protocol]
            policy = self.policies.get(name) or Policy()
            try:
                self.prepared[name] = prepare(
                    name, listener, policy, reactor, journal, checkers, (counters or {}).get(name)
                )
            except ConfigError as error:
                problems += error.problems
        if problems:
            self.discard()
            raise ConfigError(problems)

    def discard(self) -> None:
        """Give back what it holds: it will not be put to use."""
        for prepared in self.prepared.values():
            prepared.discard()


def load_policies(configuration: Configuration, reactor: Any, journal: Journal) -> dict[str, Policy]:
    """Find and make the handlers of every listener.

    Raises:
        ConfigError: a handler that is named or a folder of plugins cannot be had; with all of them.
    """
    from mgate.dropins import discover_usable, find_handler
    from mgate.handler import MakerContext

    problems: list[str] = []
    found = discover_usable(configuration.plugin_dirs, problems)
    policies: dict[str, Policy] = {}
    for name, listener in configuration.listeners.items():
        context = MakerContext(reactor, name, configuration.directory)
        handlers = []
        for spec in listener.handlers or ():
            try:
                handlers.append((spec.partition(":")[0], find_handler(spec, context, found)))
            except ConfigError as error:
                source = configuration.source_of_handlers(name)
                problems += [f'{source}: listener "{name}": {problem}' for problem in error.problems]
        policies[name] = Policy(handlers, journal.fault)
    if problems:
        raise ConfigError(problems)
    return policies
