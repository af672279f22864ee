"""Every device keeps to the topics below its own user name."""

from mgate.handler import Denied, Handler, Session, plugin


class TenantRules(Handler):
    def auth_connect(self, session: Session) -> None:
        if not session.username or set(session.username) & set("/+#$"):
            raise Denied("bad credentials", "a user name without / + # $ is needed")

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        if not topic.startswith(f"{session.username}/"):
            raise Denied("not authorised", f"publish below {session.username}/")

    def auth_subscribe(self, session: Session, filters: list[str]) -> list[str | Denied]:
        closed = Denied("not authorised", f"subscribe below {session.username}/")
        return [each if each.startswith(f"{session.username}/") else closed for each in filters]


tenant_rules = plugin("tenant-rules", TenantRules)
