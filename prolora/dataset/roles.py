"""Who can speak in a conversation, and how files write it."""

import difflib
from typing import Any

ROLES = ("system", "user", "assistant")
TOOLS = ("tool", "function", "observation", "ipython", "function_call", "function-call", "tool_call", "tool_response")
# Other names that files use for a role, as published datasets and tools write them.
SPELLINGS = {"human": "user", "developer": "system"} | dict.fromkeys(
    ("gpt", "chatgpt", "bing", "bard", "model"), "assistant"
)
# Slips of the pen that are known from published files. Written out: a near miss of any other sort may mean anything.
TYPOS = (
    dict.fromkeys(("sytem", "sysem", "systm", "systme", "sistem", "syestem"), "system")
    | dict.fromkeys(("usr", "uesr", "usser", "users", "humman", "hummany", "humna", "huamn", "hunam", "humans"), "user")
    | dict.fromkeys(("assitant", "asistant", "assisstant", "asisstant", "assistent", "assitent"), "assistant")
    | dict.fromkeys(("assistan", "assisant", "assistnat", "assistants", "gtp", "chat-gpt", "chat gpt"), "assistant")
)
_KNOWN = dict(zip(ROLES, ROLES, strict=True)) | SPELLINGS | TYPOS


def role_of(turn: dict[str, Any]) -> Any:
    role = turn.get("role")
    return turn.get("from") if role is None else role  # a table of both spellings has nulls in one of them


def meant(role: Any) -> str:
    """The role behind a known typo, whatever its case and surrounding space; nothing where that is no known one."""
    return _KNOWN.get(role.strip().casefold(), "") if isinstance(role, str) else ""


def is_missing(role: Any) -> bool:
    return role is None or (isinstance(role, str) and not role.strip())


def is_tool(role: Any) -> bool:
    return isinstance(role, str) and role.strip().casefold() in TOOLS


def advice(role: Any) -> str:
    """What to write instead of an unknown role."""
    near = difflib.get_close_matches(role.strip().lower()[:30], ROLES, n=1, cutoff=0.6) if isinstance(role, str) else []
    close = meant(role) or (near[0] if near else "")
    return f"Write {close}" if close else f"Use {', '.join(ROLES[:-1])} or {ROLES[-1]}"
