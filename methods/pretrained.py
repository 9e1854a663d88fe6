"""Pretrained weights: finding them on this machine, and reading them without running code of the file."""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache

from harness.registry import HarnessError, offline
from methods.backbones import BackboneConfig

TIMEOUT_SECONDS = 5.0
"""How long a server of weights may take to answer."""
SHIPPED_WEIGHTS = Path(__file__).with_name("weights")
WITHOUT_TAG = ("none", "rendered")
"""Weights that open_clip does not list: it takes seconds to import, and is not asked for them."""
HUB_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


class WeightsNotFoundError(HarnessError):
    """Pretrained weights that are not on this machine; the message says which file to put where."""


def find_weights(name: str, pretrained: str) -> Path:
    """The file with weights `pretrained` (open_clip tag, path, or `rendered`) for the backbone `name`.

    Downloads a tag that is not here yet, unless HARNESS_OFFLINE is set.  Raises `WeightsNotFoundError`.
    """
    if pretrained == "rendered":
        file = SHIPPED_WEIGHTS / f"{name}-rendered.safetensors"
    elif pretrained in (tags := _tags_of(name)):
        return _find_tag(name, pretrained)
    else:
        file = Path(pretrained).expanduser()
    if file.is_file():
        return file
    if pretrained == "rendered":
        raise WeightsNotFoundError(f"no weights `rendered` are shipped for {name}: {file} does not exist")
    raise WeightsNotFoundError(
        f"pretrained {pretrained!r} is neither a file nor a tag of {name} "
        f"(tags: {', '.join(tags) or 'none'}; `rendered` and `none` also exist)"
    )


def _tags_of(name: str) -> list[str]:
    """The tags that open_clip lists for a backbone."""
    import open_clip

    return list(open_clip.list_pretrained_tags_by_model(name))


def _source_of(name: str, tag: str) -> Mapping[str, Any]:
    """Where open_clip has a tag's weights from, and how they were trained."""
    from open_clip.pretrained import get_pretrained_cfg

    source: Mapping[str, Any] = get_pretrained_cfg(name, tag)
    return source


def adapt_to_weights(config: BackboneConfig, pretrained: str) -> BackboneConfig:
    """`config` as the weights `pretrained` were trained: activation, and normalisation of pixels.

    open_clip names some weights under backbones of another activation, and only warns. Weights without a tag
    (`rendered`, `none`, a file) keep what the backbone's name says.
    """
    if pretrained in WITHOUT_TAG or pretrained not in _tags_of(config.name):
        return config
    tag = _source_of(config.name, pretrained)
    raw = {**config.raw, "quick_gelu": bool(tag.get("quick_gelu", False))}
    return replace(config, raw=raw, mean=tuple(tag["mean"]), std=tuple(tag["std"]))


def _find_tag(name: str, tag: str) -> Path:
    source = _source_of(name, tag)
    for file in _cached(source):
        return file
    reason = "HARNESS_OFFLINE is set"
    if not offline():
        server = constants.ENDPOINT if source.get("hf_hub") else str(source.get("url"))
        silence = why_unreachable(server)
        if silence:
            reason = f"{server} was not reached: {silence}; HARNESS_OFFLINE=1 avoids the wait"
        else:
            from open_clip.pretrained import download_pretrained

            try:
                return Path(download_pretrained(source))
            except Exception as error:  # whatever the network did, the user needs the same advice
                reason = f"{type(error).__name__}: {error}"
    origin = " or ".join(filter(None, (source.get("hf_hub"), source.get("url"))))
    place = f"put the file at {_url_cache(source)}, or " if source.get("url") else ""
    raise WeightsNotFoundError(
        f"weights {tag!r} of {name} are not on this machine ({reason}); fetch {origin} where there is a "
        f"network and {place}name its path under `pretrained:`"
    )


def why_unreachable(address: str, seconds: float = TIMEOUT_SECONDS) -> str:
    """Why a web address does not answer, empty if it does; proxies of the environment are used.

    It is asked once, in its own thread: the hub's library tries six times for each of three files, which
    takes minutes, and looking up a host name has no time limit.
    """
    answers: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            urllib.request.urlopen(request, timeout=seconds).close()
            answers.append("")
        except urllib.error.HTTPError:  # an answer, if not a friendly one
            answers.append("")
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", error)
            # Certificates are for the library that downloads to judge; it may know others.
            answers.append("" if isinstance(cause, ssl.SSLError) else str(cause))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(2 * seconds)
    return answers[0] if answers else f"no answer within {2 * seconds:.0f} seconds"


def _url_cache(source: Mapping[str, Any]) -> Path:
    return Path.home() / ".cache" / "clip" / Path(source.get("url") or "weights.pt").name


def _cached(source: Mapping[str, Any]) -> Iterator[Path]:
    """Files of `source` that earlier downloads left here."""
    repository, _, filename = source.get("hf_hub", "").rpartition("/")
    for candidate in [filename] if filename else HUB_FILES:
        cached = try_to_load_from_cache(repository, candidate) if repository else None
        if isinstance(cached, str):
            yield Path(cached)
    if source.get("url") and _url_cache(source).is_file():
        yield _url_cache(source)
