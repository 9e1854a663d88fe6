"""Storage URLs and the passwords in them: what may be written down, and what stays in the process. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

# `scheme://user:password@host`: the password may hold anything, so the last `@` before the path counts.
_USERINFO = re.compile(r"^(?P<before>[^:/?#\s]+://[^:@/?#\s]*):(?P<password>[^\n]*)@(?P<after>[^@\n]*)$")
_QUERY = re.compile(r"(?P<key>[?&][^=&#]*pass[^=&#]*)=(?P<password>[^&#]*)", re.IGNORECASE)


def split_password(url: str) -> tuple[str, str | None]:
    """The URL without its password, and the password (decoded), wherever it stood; None when it has none."""
    query = _QUERY.search(url)
    bare = _QUERY.sub("", url) if query else url
    if query and "?" not in bare:
        bare = bare.replace("&", "?", 1)
    user = _USERINFO.match(bare)
    if user:
        return f"{user['before']}@{user['after']}", unquote(user["password"])
    return bare, unquote(query["password"]) if query else None


def masked(url: str) -> str:
    """The URL with every password replaced by `***`, fit for a log, a store or a report."""
    return _USERINFO.sub(r"\g<before>:***@\g<after>", _QUERY.sub(r"\g<key>=***", url))
