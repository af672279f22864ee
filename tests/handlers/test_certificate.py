"""``certificate:<rules>`` takes names out of certificates, and compares them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import TestCase

from mgate.errors import Denied, Kind
from mgate.handlers.certificate import CertificateHandler
from mgate.session import Session
from mgate.tls.identity import Identity

CERTIFICATE: Any = None  # the rules look at no more than what was read out of it
IDENTITY = Identity(
    subject="CN=pump",
    common_name="pump",
    dns=("pump.example", "p.example"),
    ip=("192.0.2.7",),
    uri=("urn:pump:7",),
    email=("pump@example.org",),
    serial="0A1B",
    fingerprint="ab" * 32,
    not_after=datetime(2050, 1, 1, tzinfo=UTC),
    certificate=CERTIFICATE,
)
BARE = replace(IDENTITY, subject="", common_name="", dns=(), ip=(), uri=(), email=())


def admitted(rules: str, id: str = "", username: str | None = None) -> tuple[str, str | None]:
    """Client identifier and user name after the rules have agreed."""
    session = Session(id=id, username=username, certificate=IDENTITY)
    CertificateHandler(rules).auth_connect(session)
    return session.id, session.username


class CertificateTests(TestCase):
    def assert_refused(self, rules: str, session: Session, kind: Kind, text: str, detail: str) -> None:
        before = session.id, session.username
        with self.assertRaises(Denied) as caught:
            CertificateHandler(rules).auth_connect(session)
        error = caught.exception
        self.assertEqual((error.kind, error.text, error.detail), (kind, text, detail))
        self.assertEqual((session.id, session.username), before)

    def test_sets(self) -> None:
        self.assertEqual(admitted("username=cn", "mine"), ("mine", "pump"))
        self.assertEqual(admitted("username=cn", username="admin"), ("", "pump"))
        self.assertEqual(admitted(" id = uri , username = email ", "mine"), ("urn:pump:7", "pump@example.org"))

    def test_every_field(self) -> None:
        for field, value in (
            ("cn", "pump"), ("ip", "192.0.2.7"), ("uri", "urn:pump:7"), ("email", "pump@example.org"),
            ("subject", "CN=pump"), ("serial", "0A1B"), ("fingerprint", "ab" * 32),
        ):  # fmt: skip
            with self.subTest(field):
                self.assertEqual(admitted(f"id={field}"), (value, None))

    def test_compares_with_each_value(self) -> None:
        for name in IDENTITY.dns:
            self.assertEqual(admitted("id==dns,username=cn", name), (name, "pump"))
        self.assertEqual(admitted("username == cn", "any", "pump"), ("any", "pump"))

    def test_what_does_not_match_is_refused_and_nothing_is_set(self) -> None:
        for id in ("", "PUMP.example", "pump.example.", "pump"):
            with self.subTest(id):
                self.assert_refused(
                    "username=cn,id==dns",
                    Session(id=id, certificate=IDENTITY),
                    Kind.BAD_CLIENT_ID,
                    "the client identifier is not that of the certificate",
                    "the certificate CN=pump has pump.example, p.example",
                )
        for username in (None, "", "admin"):
            with self.subTest(username=username):
                self.assert_refused(
                    "username==cn",
                    Session(username=username, certificate=IDENTITY),
                    Kind.BAD_CREDENTIALS,
                    "the user name is not that of the certificate",
                    "the certificate CN=pump has pump",
                )

    def test_one_of_several_cannot_be_chosen(self) -> None:
        self.assert_refused(
            "username=dns",
            Session(certificate=IDENTITY),
            Kind.NOT_AUTHORISED,
            "the certificate has more than one dns",
            "the certificate CN=pump has pump.example, p.example",
        )

    def test_an_absent_field_refuses(self) -> None:
        for field in ("cn", "dns", "ip", "uri", "email", "subject"):
            for sign in ("=", "=="):
                with self.subTest(field=field, sign=sign):
                    self.assert_refused(
                        f"id{sign}{field}",
                        Session(certificate=BARE),
                        Kind.NOT_AUTHORISED,
                        f"the certificate has no {field}",
                        "the certificate 0A1B",
                    )

    def test_no_certificate_is_refused(self) -> None:
        self.assert_refused(
            "username=cn", Session(username="pump"), Kind.NOT_AUTHORISED, "a client certificate is needed", ""
        )

    def test_mistakes_are_told_at_the_start(self) -> None:
        example = "write username=cn to set, id==dns to compare"
        fields = "cn, dns, ip, uri, email, subject, serial, fingerprint"
        for rules, expected in (
            ("", f"it needs rules behind the colon: {example}"),
            (" ", f"it needs rules behind the colon: {example}"),
            ("username", f"'username' is no rule: {example}"),
            ("username=", f"'username=' is no rule: {example}"),
            ("username==", f"'username==' is no rule: {example}"),
            ("=cn", f"'=cn' is no rule: {example}"),
            ("username=cn,", f"'' is no rule: {example}"),
            ("password=cn", "'password' cannot be set or compared; there are: id, username"),
            ("username=CN", f"a certificate has no 'CN'; there are: {fields}"),
            ("username===cn", f"a certificate has no '=cn'; there are: {fields}"),
            ("username=cn,username==dns", "there are two rules for username"),
        ):
            with self.subTest(rules), self.assertRaises(ValueError) as caught:
                CertificateHandler(rules)
            self.assertEqual(str(caught.exception), expected)
