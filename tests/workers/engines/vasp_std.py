"""A stand-in for VASP, for tests: it reads the four inputs, and writes what VASP wrote for the same atoms once.

LODE_TEST_VASP names a file of JSON: `outputs` (elements -> folder with a genuine vasprun.xml and OUTCAR), `starts` (a
file that gets a line for every start), `faults` (number of the start, or *, -> what goes wrong with it). It needs
nothing but the standard library: it is started often.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

HANG_SECONDS = 600.0
SAYS = {
    "zbrent": " ZBRENT: fatal error in bracketing",
    "edddav": "Error EDDDAV: Call to ZHEGV failed. Returncode =  7  1  8",
    "brmix": "BRMIX: very serious problems\n the old and the new charge density differ",
    "tet": "Tetrahedron method fails (number of k-points < 4)",
    "disk": "forrtl: No space left on device",
}


def incar() -> dict[str, str]:
    pairs = (line.split("=", 1) for line in Path("INCAR").read_text().splitlines() if line.strip())
    return {tag.strip(): value.strip() for tag, value in pairs}


def poscar() -> tuple[list[list[float]], list[str], list[int], list[list[float]]]:
    """Lattice, symbols, counts, fractional coordinates."""
    lines = Path("POSCAR").read_text().splitlines()
    assert float(lines[1]) == 1.0
    symbols, counts = lines[5].split(), [int(count) for count in lines[6].split()]
    assert lines[7].strip().lower().startswith("d")
    rows = [[float(word) for word in line.split()[:3]] for line in [*lines[2:5], *lines[8 : 8 + sum(counts)]]]
    assert len(rows) == 3 + sum(counts)
    return rows[:3], symbols, counts, rows[3:]


def check_kpoints(tags: dict[str, str]) -> None:
    if not Path("KPOINTS").exists():
        assert float(tags["KSPACING"]) > 0
        return
    lines = Path("KPOINTS").read_text().splitlines()
    number = int(lines[1])
    assert lines[2][0] in "GMR"
    rows = lines[3 : 3 + max(1, number)]
    assert all([float(word) for word in row.split()[:3]] for row in rows)


def check_potcar(symbols: list[str]) -> None:
    titles = re.findall(r"TITEL\s*=\s*PAW_PBE (\w+)", Path("POTCAR").read_text())
    assert [title.split("_")[0] for title in titles] == symbols, f"POTCAR has {titles}, POSCAR {symbols}"


def genuine(outputs: dict[str, str], symbols: list[str]) -> Path:
    return Path(outputs[" ".join(sorted(symbols))])


class Vasprun:
    """A genuine one in pieces: before the ionic steps, they, and after them."""

    def __init__(self, text: str) -> None:
        self.head, *steps = text.split("<calculation>")
        self.steps = ["<calculation>" + step for step in steps]
        self.steps[-1], end, self.tail = self.steps[-1].partition("</calculation>")
        self.steps[-1] += end

    def made_for(self, tags: dict[str, str], steps: list[str]) -> str:
        """With the tags and the structure that it was asked for."""
        head = re.sub(r"<incar>.*?</incar>", lambda _: self.incar_block(tags), self.head, flags=re.DOTALL)
        for tag in ("NSW", "NELM", "IBRION", "EDIFF", "EDIFFG", "ISMEAR", "SIGMA"):
            if tag in tags:
                head = re.sub(rf'(<i[^>]* name="{tag}">)[^<]*(</i>)', rf"\g<1> {tags[tag]}\2", head)
        begin = re.compile(r'(<structure name="initialpos" ?>).*?(</structure>)', re.DOTALL)
        return begin.sub(lambda found: found[1] + self.begin_block() + found[2], head) + "".join(steps) + self.tail

    @staticmethod
    def incar_block(tags: dict[str, str]) -> str:
        lines = [f'  <i{_kind(value)} name="{tag}">{value}</i>' for tag, value in tags.items() if tag != "MAGMOM"]
        return "\n".join([" <incar>", *lines, " </incar>"])

    @staticmethod
    def begin_block() -> str:
        lattice, _, _, coords = poscar()
        return (
            f'<crystal><varray name="basis" >{_rows(lattice)}</varray><i name="volume">1.0</i></crystal>'
            f'<varray name="positions" >{_rows(coords)}</varray>'
        )


def _kind(value: str) -> str:
    if value in ("True", "False"):
        return ' type="logical"'
    if re.fullmatch(r"[-+]?\d+", value):
        return ' type="int"'
    return "" if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value) else ' type="string"'


def _rows(rows: list[list[float]]) -> str:
    return "".join(f"<v>{' '.join(f'{part:.8f}' for part in row)}</v>" for row in rows)


def contcar_of(vasprun: Vasprun, step: str) -> str:
    """POSCAR with the structure that an ionic step has."""
    arrays = [
        re.findall(r"<v>(.*?)</v>", block)
        for block in re.findall(r'name="(?:basis|positions)" ?>(.*?)</varray>', step, re.DOTALL)
    ]
    lines = Path("POSCAR").read_text().splitlines()
    return "\n".join([*lines[:2], *arrays[0], *lines[5:8], *arrays[1]]) + "\n"


def write(tags: dict[str, str], folder: Path, fault: str | None) -> None:
    """Every output of a run, whole or as a fault leaves them."""
    vasprun = Vasprun((folder / "vasprun.xml").read_text())
    most = int(tags.get("NSW", "0"))
    steps = vasprun.steps[:most] if most else vasprun.steps[-1:]
    if fault == "unconverged":  # as many electronic steps as it may take
        tags = {**tags, "NELM": str(steps[-1].count("<scstep>"))}
    text = vasprun.made_for(tags, steps)
    Path("OUTCAR").write_bytes((folder / "OUTCAR").read_bytes())
    energies = [re.findall(r'name="e_fr_energy">\s*(\S+)', step)[-1] for step in steps]
    lines = [
        f"   {number} F= {float(one):.8E} E0= {float(one):.8E}  d E =-.1E-05" for number, one in enumerate(energies, 1)
    ]
    Path("OSZICAR").write_text("\n".join(lines) + "\n")
    Path("CONTCAR").write_text(contcar_of(vasprun, steps[-1]))
    Path("CHGCAR").write_text("a density\n")
    if fault == "truncated":
        text = text[: len(text) // 2]
    if fault in ("hang", "segv", "zbrent"):  # the first steps are out, and no more
        text = vasprun.made_for(tags, steps[:2]).removesuffix(vasprun.tail)
    Path("vasprun.xml").write_text(text)


def leave_another(folder: Path, fault: str) -> None:
    """The vasprun.xml of a run that was another one."""
    for name in ("vasprun.xml", "OUTCAR"):
        Path(name).write_bytes((folder / name).read_bytes())
    for name in ("OSZICAR", "CONTCAR"):
        Path(name).write_text("")
    if fault == "stale":
        os.utime("vasprun.xml", (1e9, 1e9))


def main() -> None:
    plan = json.loads(Path(os.environ["LODE_TEST_VASP"]).read_text())
    tags = incar()
    symbols = poscar()[1]
    check_kpoints(tags)
    check_potcar(symbols)
    starts = Path(plan["starts"])
    number = len(starts.read_text().splitlines()) + 1 if starts.exists() else 1
    with starts.open("a") as file:
        told = {"stage": Path.cwd().name, "tags": tags, "pid": os.getpid(), "kpoints": Path("KPOINTS").exists()}
        file.write(json.dumps(told) + "\n")
    run(tags, genuine(plan["outputs"], symbols), plan["faults"].get(str(number), plan["faults"].get("*")))


def run(tags: dict[str, str], folder: Path, fault: str | None) -> None:
    if fault == "fail":
        sys.exit(1)
    print(" running    1 mpi-ranks, on    1 nodes\n entering main loop", flush=True)
    if fault in ("stale", "other"):
        leave_another(folder, fault)
        sys.exit(0)
    if fault == "memory":
        print("forrtl: severe (41): insufficient virtual memory", file=sys.stderr, flush=True)
        sys.exit(41)
    write(tags, folder, fault)
    print(" reached required accuracy" if fault is None else SAYS.get(fault, "   N       E"), flush=True)
    if fault in ("hang", "brmix"):
        time.sleep(HANG_SECONDS)
    if fault in ("segv", "kill"):
        os.kill(os.getpid(), signal.SIGSEGV if fault == "segv" else signal.SIGKILL)
    sys.exit(1 if fault in SAYS else 0)


if __name__ == "__main__":
    main()
