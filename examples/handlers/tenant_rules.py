"""Every device keeps to the topics below its own user name."""

from mgate.handler import Denied, Handler, Session, plugin


class TenantRules(Handler):
    def auth_publish(self, session: Session, topic: str, payload: bytes) -> None:
        if not topic.startswith(f"{session.username}/"):
            raise Denied("not authorised", "publish below your own user name only")

    def auth_subscribe(self, session: Session, filters: list[str]) -> list[str | Denied]:
        own = f"{session.username}/"
        return [f if f.startswith(own) else Denied("not authorised", "subscribe below your own user name only")
                for f in filters]  # fmt: skip


tenant_rules = plugin("tenant-rules", TenantRules)
