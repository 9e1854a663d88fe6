"""The page of a query: sentences with the people they found, pictures with the captions they found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reports.document import picture
from reports.html import rendered


def page(result: Any, thumbnail: Callable[[Path], bytes | None]) -> str:
    """One HTML file that needs nothing else.

    `result` is a `harness.cli.query.QueryAnswers`; `thumbnail` makes a WebP of a picture's file, or
    None where it cannot be read.
    """
    answers = [
        {
            "title": answer.sentence or f"Captions for {answer.picture}",
            "picture": picture(thumbnail(answer.picture)) if answer.picture else "",
            "hits": [_shown(hit, thumbnail) for hit in answer.hits],
        }
        for answer in result.answers
    ]
    return rendered("query.html", result=result, answers=answers)


def _shown(hit: Any, thumbnail: Callable[[Path], bytes | None]) -> dict[str, Any]:
    return {**vars(hit), "known_as": hit.known_as, "source": picture(thumbnail(hit.picture))}
