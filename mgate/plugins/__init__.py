"""The package in which handlers are found: ours, those that wheels put beside them, and the folders of --plugin-dir.

A file put into one of its folders is code that runs as the gateway. See `mgate.dropins`, which searches here.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
