"""A log as the program printed it: decoded, and without what terminals, logcat and log libraries add to a line."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,30}[ -/]{0,5}[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\))")
_DATE, _CLOCK = r"(?:[0-9]{4}-)?[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}[.,][0-9]{1,9}"
_PID, _PLACE, _TAG = r"(?P<pid>[0-9]{1,9})", r"\S{1,99}:[0-9]{1,9}\]", r"(?P<tag>[^(]{0,99}?)"
_PREFIXES = tuple(
    re.compile(rf"{form}(?: |$)")
    for form in (
        # GitHub Actions: 2026-05-30T15:16:44.8570000Z, after its job and step where `gh run view --log` wrote it
        r"(?:[^\t]{1,99}\t[^\t]{1,99}\t)?[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9:]{4,5})",
        # logcat -v threadtime: 05-30 15:16:44.857  1234  1240 I tag     : (also with the user's number)
        rf"{_DATE} {_CLOCK}(?: +\w{{1,20}})? +{_PID} +[0-9]{{1,9}} (?P<level>[VDIWEF]) (?P<tag>.{{0,99}}?) *:",
        # logcat -v time and -v brief: 05-30 15:16:44.857 I/tag     ( 1234):
        rf"(?:{_DATE} {_CLOCK} )?(?P<level>[VDIWEF])/{_TAG}\( *{_PID}\):",
        # TensorFlow's: 2026-05-30 15:16:44.857123: I path/file.cc:120]
        rf"{_DATE} {_CLOCK}: (?P<level>[IWEF]) {_PLACE}",
        # absl and glog: I0000 00:00:1716000000.123456   13380 file.cc:120]
        rf"(?P<level>[IWEF])[0-9]{{4}} [0-9]{{2}}:[0-9]{{2}}:[0-9]{{1,12}}\.[0-9]{{1,9}} +[0-9]{{1,9}} {_PLACE}",
    )
)
_OWN = re.compile(
    r"(?:native : \S+ )?(?:INFO: )?"
    r"(?:STARTING!|Running benchmark for |(?:Average inference|Inference) timings in us: )"
)


def decoded(content: bytes) -> str:
    """Return a log file's text: UTF-8, or UTF-16 (PowerShell's ``>`` writes it); what is neither is replaced."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    head = content[:1000]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[first::2].count(0) * 2 > max(1, len(head[first::2])):  # every second byte of Latin text is zero
            return content.decode(encoding, errors="replace")
    return content.decode(errors="replace")


def printed_lines(text: str) -> list[str]:
    """Return a log's lines as the program printed them.

    Colours, carriage returns, the prefixes of logcat and absl and any other that most lines share are taken off. Lines
    that other programs wrote into the same logcat are left out; what is marked as an error begins with ``ERROR: ``.
    """
    raw = re.sub(r"\r+(?=\n|$)", "", _ESCAPES.sub("", text)).split("\n")
    forms = (*_PREFIXES, *_shared_prefix(raw))
    lines = [_unwrapped(line, forms) for line in raw]
    own = {(pid, tag) for line, pid, tag in lines if pid and _OWN.match(line)}
    pids, tags = {pid for pid, _ in own}, {tag for _, tag in own}
    return [line for line, pid, tag in lines if not own or not pid or pid in pids or tag in tags]


def _unwrapped(line: str, forms: Sequence[re.Pattern[str]]) -> tuple[str, str, str]:
    """Return a line without its prefixes, with the number of its process and its tag where logcat tells them."""
    pid = tag = ""
    while match := _first(forms, line):
        said = match.groupdict()
        pid, tag = said.get("pid") or pid, (said.get("tag") or tag).rstrip()
        line = line[match.end() :]
        if said.get("level") in ("E", "F") and not re.match(r"\s*(?:ERROR|FATAL): ", line):
            return f"ERROR: {line}", pid, tag
    return line, pid, tag


def _first(forms: Sequence[re.Pattern[str]], line: str) -> re.Match[str] | None:
    return next((match for form in forms if (match := form.match(line)) and match.end()), None)


def _shared_prefix(lines: Sequence[str]) -> list[re.Pattern[str]]:
    """Return what else precedes most lines, if it is one thing but for its numbers: a clock, a quotation mark."""
    found = (_unknown(line[: match.start()]) for line in lines if (match := _OWN.search(line)))
    forms = Counter(re.sub("[0-9]+", "[0-9]+", re.escape(prefix.rstrip())) for prefix in found)
    ((form, _),) = forms.most_common(1) or (("", 0),)
    pattern = re.compile(rf"{form}(?: |$)")
    shared = sum(pattern.match(_unwrapped(line, _PREFIXES)[0]) is not None for line in lines)
    return [pattern] if form and 2 * shared > len(lines) else []


def _unknown(prefix: str) -> str:
    """Return what of a prefix comes before the first one, or after the last one, that `_PREFIXES` knows."""
    prefix, _, _ = _unwrapped(prefix, _PREFIXES)
    return prefix[: min((known.start() for form in _PREFIXES if (known := form.search(prefix))), default=len(prefix))]
