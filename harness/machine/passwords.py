"""Storage URLs and the passwords in them: what may be written down, and what stays in the process. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

# `scheme://user:password@host`: the password may hold anything, so the last `@` before the path counts.
_USERINFO = re.compile(r"^(?P<before>[^:/?#\s]+://[^:@/?#\s]*):(?P<password>[^\n]*)@(?P<after>[^@\n]*)$")
# In a sentence, and with a slash too few: what was mistyped is printed, too.
_ANYWHERE = re.compile(
    r"(?P<before>(?<![\w+.-])[A-Za-z][\w+.-]*:/{0,2}[^\s:@/?#'\"]*):(?P<password>[^\s'\"]*)@"
)
_QUERY = re.compile(r"(?P<key>[?&][^=&#\s]*pass[^=&#\s]*)=(?P<password>[^&#]*)", re.IGNORECASE)


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
    return masked_text(_USERINFO.sub(r"\g<before>:***@\g<after>", url))


def masked_text(text: str) -> str:
    """A sentence with the password of every URL in it replaced by `***`, also of one that is mistyped."""
    return _ANYWHERE.sub(r"\g<before>:***@", _QUERY.sub(r"\g<key>=***", text))
