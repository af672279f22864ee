"""TLS towards devices and targets, and whether a certificate has been revoked. `mgate.listeners` composes it."""
