"""The handlers that come with the gateway, under the names that a configuration calls them by."""

from mgate.handler import plugin
from mgate.handlers.certificate import CertificateHandler
from mgate.handlers.deny import DenyHandler
from mgate.handlers.log import LogHandler

certificate = plugin("certificate", CertificateHandler)
deny = plugin("deny", DenyHandler)
log = plugin("log", LogHandler)
