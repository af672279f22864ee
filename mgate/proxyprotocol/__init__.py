"""The PROXY protocol, in and out: who connects through a proxy, and who the gateway connects for."""
