"""The user name of a device is the common name of its certificate, whatever the device says."""

from mgate.handler import Denied, Handler, Session, plugin


class NamedByCertificate(Handler):
    def auth_connect(self, session: Session) -> None:
        name = session.certificate.common_name if session.certificate else ""
        if not name or set(name) & set("/+#$"):
            raise Denied("not authorised", "a certificate with a plain common name is needed")
        session.username = name


named_by_certificate = plugin("named-by-certificate", NamedByCertificate)
