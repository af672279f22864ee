"""Gives ``twistd`` its ``mgate`` command. Twisted loads this file for every ``twistd --help``: it imports no more."""

from twisted.application.service import ServiceMaker

mgate = ServiceMaker("mGate", "mgate.tap", "Programmable gateway for MQTT and other IoT protocols", "mgate")
