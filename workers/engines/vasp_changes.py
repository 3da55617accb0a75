"""What VASP ran with against what was asked for: which changes leave an energy as accurate as it was meant to be.

A retry, custodian's or ours, may go another way to the same place. Where it has changed the place, the energy is kept,
but not beside others of its level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from registry.errors import SettingsError

Tags = Mapping[str, Any]
Change = tuple[Any, Any]
"""Asked for and used; None: not given, so VASP's default."""

PARALLEL = frozenset({"NCORE", "NPAR", "KPAR", "NSIM", "LPLANE", "LSCALAPACK", "LSCALU", "LASYNC"})
"""In which parts the work is done: what a machine may say (LODE_VASP_INCAR)."""

ANOTHER_WAY = PARALLEL | frozenset(
    {
        *("AMIX", "BMIX", "AMIX_MAG", "BMIX_MAG", "AMIN", "IMIX", "MAXMIX", "WC", "INIMIX", "MIXPRE"),
        *("NELM", "NELMIN", "NELMDL", "TIME", "ISEARCH", "LSUBROT", "IWAVPR", "INIWAV", "ISTART"),
        *("IBRION", "POTIM", "NSW", "SMASS", "NFREE", "IOPT"),
        *("ISYM", "SYMPREC"),
        *("LCHARG", "LWAVE", "LAECHG", "LVTOT", "LVHAR", "LELF", "LORBIT", "NWRITE", "NEDOS", "SYSTEM"),
    }
)
"""How the minimum is looked for, in which parallel parts, and what is written down: not where it is.

Whether it was found is seen from the run itself, so that NELM and NSW are among them.
"""

SELF_CONSISTENT = ("n", "v", "f", "a", "c", "d")
"""First letters of Normal, VeryFast, Fast, All, Conjugate, Damped, as VASP reads ALGO."""

SETTING = "LODE_VASP_INCAR (or vasp_incar in lode.toml)"
WIDEST = 0.2  # eV, of the smearing in a relaxation: what MPRelaxSet's users give to metals
DEFAULTS: Tags = {"EDIFF": 1e-4, "KSPACING": 0.5, "SIGMA": 0.2, "ISMEAR": 1, "LREAL": False, "ALGO": "Normal"}
"""VASP's own, of tags that are compared by size."""


def parallel_tags(words: str) -> dict[str, str]:
    """Tag -> value of "NCORE=4 KPAR=2". Raise SettingsError for tags that belong to a level, and for other values."""
    pairs = [word.partition("=") for word in words.split()]
    tags = {tag.upper(): value for tag, _, value in pairs}
    if others := sorted(tags.keys() - PARALLEL):
        known = ", ".join(sorted(PARALLEL))
        raise SettingsError(f"{SETTING}: {', '.join(others)} can't be a machine's, which has {known}; see docs/vasp.md")
    if wrong := sorted(f"{tag}={value}" for tag, value in tags.items() if not _is_parallel_value(tag, value)):
        raise SettingsError(f"{SETTING}: {', '.join(wrong)}: a number from 1, or .TRUE. or .FALSE. for tags with L")
    return tags


def _is_parallel_value(tag: str, value: str) -> bool:
    if tag.startswith("L"):
        return value.strip(".").upper() in ("TRUE", "FALSE", "T", "F")
    return value.isdecimal() and int(value) > 0


def differences(asked: Tags, used: Tags) -> dict[str, Change]:
    """Tag -> change, of two INCARs; tags in capitals."""
    one, other = ({tag.upper(): value for tag, value in tags.items()} for tags in (asked, used))
    return {
        tag: (one.get(tag), other.get(tag))
        for tag in sorted(one.keys() | other.keys())
        if one.get(tag) != other.get(tag)
    }


def complaint(changes: Mapping[str, Change], relaxes: bool) -> str | None:
    """Which changes of a run may have made it less accurate or another one, in words, or None.

    relaxes: whether it is the energy of another, later run that counts
    """
    bad = [
        f"{tag} {_told(change[0])} -> {_told(change[1])}"
        for tag, change in changes.items()
        if not allowed(tag, change, relaxes)
    ]
    return "; ".join(bad) or None


def allowed(tag: str, change: Change, relaxes: bool) -> bool:
    """Whether a run with this change is as accurate as the one that was asked for, and of the same energy."""
    if tag in ANOTHER_WAY:
        return True
    asked, used = (DEFAULTS.get(tag) if value is None else value for value in change)
    if tag in _TIGHTER:
        try:
            return _TIGHTER[tag](asked, used)
        except (TypeError, ValueError):
            return False
    return relaxes and tag in _OF_FORCES and _OF_FORCES[tag](used)


def kpoints_told(kpoints: Any) -> dict[str, Any] | None:
    """Pymatgen's KPOINTS in plain values, None where there is no such file."""
    if kpoints is None:
        return None
    points = [[float(part) for part in point] for point in kpoints.kpts]
    told: dict[str, Any] = {"style": kpoints.style.name}
    if kpoints.num_kpts:
        return {**told, "points": int(kpoints.num_kpts)}
    return {
        **told,
        "divisions": [int(part) for part in points[0]],
        "shift": [float(part) for part in kpoints.kpts_shift],
    }


def _mesh_is_as_fine(asked: Any, used: Any) -> bool:
    """No fewer points along any vector, Gamma among them: beside it a mesh breaks the symmetry of hexagonal cells."""
    if used["style"] != "Gamma" or asked["style"] not in ("Gamma", "Monkhorst") or any(used["shift"]):
        return False
    return not _fewer(asked["divisions"], used["divisions"])


def _fewer(asked: Sequence[float], used: Sequence[float]) -> bool:
    return any(after < before for before, after in zip(asked, used, strict=True))


def _force_criterion_is_as_tight(asked: Any, used: Any) -> bool:
    """EDIFFG: negative of forces, positive of energies. One is no measure of the other."""
    if asked is None or used is None or float(asked) * float(used) <= 0:
        return False
    return abs(float(used)) <= abs(float(asked))


_TIGHTER: Mapping[str, Callable[[Any, Any], bool]] = {
    "EDIFF": lambda asked, used: 0 < float(used) <= float(asked),
    "KSPACING": lambda asked, used: 0 < float(used) <= float(asked),
    "EDIFFG": _force_criterion_is_as_tight,
    "LREAL": lambda _asked, used: used is False,
    "NBANDS": lambda asked, used: asked is None or (used is not None and int(used) >= int(asked)),
    "ICHARG": lambda _asked, used: used is None or 0 <= int(used) <= 2,
    "ALGO": lambda _asked, used: str(used).lower() not in ("none", "nothing") and _first(used) in SELF_CONSISTENT,
    "KGAMMA": lambda _asked, used: used in (None, True),
    "KPOINTS": _mesh_is_as_fine,
}
_OF_FORCES: Mapping[str, Callable[[Any], bool]] = {
    "ISMEAR": lambda used: int(used) in (0, 1, 2),
    "SIGMA": lambda used: 0 < float(used) <= WIDEST,
}
"""Smearing as metals need it decides forces, so where a relaxation ends, not the energy of the static run after it."""


def _first(algorithm: Any) -> str:
    return str(algorithm).strip().lower()[:1]


def _told(value: Any) -> str:
    if isinstance(value, dict):
        parts = value.get("divisions") or [value.get("points")]
        return f"{value['style']} {'x'.join(f'{part:g}' for part in parts)}"
    return "default" if value is None else str(value)


def action_told(action: Mapping[str, Any]) -> str:
    """One of custodian's actions in a few words; a structure is not spelt out."""
    what = action["action"]
    if "file" in action:
        return f"{action['file']}: {_file_action(what)}"
    told = [f"{tag} = {value}" for tag, value in what.get("_set", {}).items() if tag != "structure"]
    told += [f"no {tag}" for tag in what.get("_unset", {})]
    return f"{action['dict']}: {', '.join(told) or 'another structure'}"


def _file_action(what: Mapping[str, Any]) -> str:
    return f"to {what['_file_copy']['dest']}" if "_file_copy" in what else "deleted"
